"""`autolabel predict`: labels and overlays for pictures, without an experiment."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autolabel.classes import CLASS_SETS
from autolabel.classes.files import default_palette
from autolabel.errors import ConfigError, DataError
from autolabel.labels import png
from autolabel.labels.colour import heat, overlay
from autolabel.machine import resolve_device
from autolabel.progress import Progress
from autolabel.stages.opening import WEIGHTS, read_weights
from autolabel.store import safe_names, write_files

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 64_000_000


@dataclass(frozen=True)
class Request:
    scales: tuple[float, ...]
    flip: bool
    threshold: float
    details: bool
    device: str
    quiet: bool


def predict_files(weights: Path, images: tuple[Path, ...], out: Path, request: Request) -> list[list[Path]]:
    """Write NAME_label.png and NAME_overlay.png for every image, and with `details` what each scale saw.

    Returns the files written for each image. Raises WeightsError, ImageError, ConfigError; pictures done before an
    unreadable one stay.
    """
    from autolabel.data.decode import decode_image
    from autolabel.inference.predict import Predictor
    from autolabel.models import weights_from_bytes

    files = list(_pictures(images))
    path = weights / "data" / WEIGHTS if weights.is_dir() else weights
    model, card = weights_from_bytes(read_weights(path), path)
    predictor = Predictor(
        model,
        card,
        scales=request.scales,
        flip=request.flip,
        threshold=request.threshold,
        device=resolve_device(request.device),
    )
    colours = _colours(card.class_names)
    names = _names(files)
    written = []
    with Progress(total=len(files), desc="predict", unit="image", quiet=request.quiet) as bar:
        for file in files:
            picture = decode_image(_read(file), where=file, max_pixels=MAX_PIXELS)
            labels = predictor.train_ids(picture)
            products = {"label": png.encode(labels), "overlay": _png(overlay(picture, labels, colours))}
            if request.details:
                products |= _details(predictor, picture, colours)
            rows = [(f"{names[file]}_{kind}.png", data) for kind, data in products.items()]
            write_files(out.absolute(), rows)
            written.append([out / name for name, _ in rows])
            bar.update()
    return written


def _details(predictor: object, picture: np.ndarray, colours: np.ndarray) -> dict[str, bytes]:
    from autolabel.inference.predict import Predictor

    assert isinstance(predictor, Predictor)
    details = predictor.details(picture)
    found = {}
    for scale, labels in details.labels.items():
        found[f"scale{scale:g}"] = _png(overlay(picture, labels, colours))
        found[f"attention{scale:g}"] = _png(heat(details.attention[scale]))
    return found


def _pictures(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not inside:
            raise DataError(path, "holds no pictures", f"files must end in one of {', '.join(SUFFIXES)}")
        yield from inside


def _names(files: list[Path]) -> dict[Path, str]:
    """An output name for each picture: its stem, or stem and digest of the whole path where stems meet."""
    if len(set(files)) < len(files):
        raise ConfigError("IMAGES", "name a file twice", "name each once")
    stems = [file.stem.lower() for file in files]
    ids = {file: file.stem if stems.count(file.stem.lower()) == 1 else str(file) for file in files}
    names = safe_names(ids.values())
    return {file: names[ids[file]] for file in files}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(file, f"cannot be read: {error.strerror}", "give image files or folders") from error


def _colours(class_names: tuple[str, ...]) -> np.ndarray:
    """(256, 3) of the class set that has these names; otherwise the colours a class file without a palette gets."""
    for known in CLASS_SETS.values():
        if known.names == class_names:
            return known.colours()
    table = np.zeros((256, 3), np.uint8)
    table[: len(class_names)] = default_palette(len(class_names))
    return table


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
