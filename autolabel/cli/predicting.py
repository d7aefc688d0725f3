"""`autolabel predict`: labels and overlays for pictures, without an experiment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autolabel.classes import CLASS_SETS
from autolabel.classes.files import default_palette
from autolabel.config import SourceTable
from autolabel.data.sources.listing import IMAGE_SUFFIXES
from autolabel.errors import ConfigError, DataError, WeightsError
from autolabel.labels import png
from autolabel.labels.colour import heat, overlay, picture_png
from autolabel.machine import resolve_device
from autolabel.progress import Progress
from autolabel.stages.opening import WEIGHTS, read_weights
from autolabel.store import Artefact, safe_names, write_files

if TYPE_CHECKING:
    from autolabel.inference.predict import Predictor

MAX_PIXELS = SourceTable().max_pixels


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
    unreadable one stay. No picture that is read is ever replaced.
    """
    from autolabel.data.decode import decode_image
    from autolabel.inference.predict import Predictor
    from autolabel.models import weights_from_bytes

    files = list(_pictures(images, out))
    names = _names(files)
    _check_out(out, files, names, request)
    model, card = weights_from_bytes(_read_model(weights), weights)
    predictor = Predictor(
        model,
        card,
        scales=request.scales,
        flip=request.flip,
        threshold=request.threshold,
        device=resolve_device(request.device),
    )
    colours = _colours(card.class_names)
    written = []
    with Progress(total=len(files), desc="predict", unit="image", quiet=request.quiet) as bar:
        for file in files:
            picture = decode_image(_read(file), where=file, max_pixels=MAX_PIXELS)
            labels = predictor.train_ids(picture)
            products = {"label": png.encode(labels), "overlay": picture_png(overlay(picture, labels, colours))}
            if request.details:
                products |= _details(predictor, picture, colours)
            rows = [(f"{names[file]}_{kind}.png", data) for kind, data in products.items()]
            write_files(out.absolute(), rows)
            written.append([out / name for name, _ in rows])
            bar.update()
    return written


def _details(predictor: Predictor, picture: np.ndarray, colours: np.ndarray) -> dict[str, bytes]:
    details = predictor.details(picture)
    found = {}
    for scale, labels in details.labels.items():
        found[f"scale{scale:g}"] = picture_png(overlay(picture, labels, colours))
        found[f"attention{scale:g}"] = picture_png(heat(details.attention[scale]))
    return found


def _read_model(path: Path) -> bytes:
    """Of a file, or of an artefact: there the bytes are checked."""
    if not path.is_dir():
        return read_weights(path)
    if not (path / "COMMIT").is_file() or WEIGHTS not in (artefact := Artefact.open(path)).names():
        raise WeightsError(path, "is no teacher or student artefact", f"give one, or the path of a {WEIGHTS}")
    return artefact.read(WEIGHTS)


def _pictures(paths: tuple[Path, ...], out: Path) -> Iterator[Path]:
    """Files as they are given, and all pictures below folders but hidden ones and those of an earlier run in `out`."""
    for path in paths:
        if not path.exists():
            raise DataError(path, "no such file or folder", "give image files or folders")
        if not path.is_dir():
            yield path
            continue
        results = out.resolve() if path.resolve() in out.resolve().parents else None
        files = (file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
        visible = (file for file in files if not any(part[0] == "." for part in file.relative_to(path).parts))
        inside = sorted(file for file in visible if results is None or results not in file.resolve().parents)
        if not inside:
            raise DataError(path, "holds no pictures", f"files must end in one of {', '.join(IMAGE_SUFFIXES)}")
        yield from inside


def _names(files: list[Path]) -> dict[Path, str]:
    """An output name for each picture: its stem, or a digest of the whole path where stems meet."""
    if len(set(files)) < len(files):
        raise ConfigError("IMAGES", "name a file twice", "name each once")
    stems = Counter(file.stem.lower() for file in files)
    ids = {file: file.stem if stems[file.stem.lower()] == 1 else f"./{file}" for file in files}  # no stem has a slash
    names = safe_names(ids.values())
    return {file: names[ids[file]] for file in files}


def _check_out(out: Path, files: list[Path], names: dict[Path, str], request: Request) -> None:
    """ConfigError where the results cannot lie in `out`, or one of them would take the place of a picture."""
    if out.exists() and not out.is_dir():
        raise ConfigError(out, "is not a folder", "give another --out")
    kinds = ["label", "overlay"]
    kinds += [f"{kind}{scale:g}" for scale in request.scales for kind in ("scale", "attention") if request.details]
    results = {out.resolve() / f"{names[file]}_{kind}.png" for file in files for kind in kinds}
    for file in files:
        if file.resolve() in results:
            raise ConfigError(file, "would be replaced by a result", "give another --out, or leave this picture out")


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
