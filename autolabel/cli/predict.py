"""`autolabel predict`: labels and overlays for images, animations and videos, without an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from autolabel.artifacts import WEIGHTS, read_weights
from autolabel.classes import CLASS_SETS
from autolabel.classes.palettes import default_palette
from autolabel.cli.options import (
    device_option,
    echo,
    json_option,
    parse_scales,
    print_json,
    quiet_option,
)
from autolabel.cli.predict_inputs import (
    ANIMATION,
    Frame,
    FrameSelection,
    MediaFile,
    check_out,
    expected_images,
    find_sources,
    read_images,
)
from autolabel.errors import DataError, ItemsFailed, WeightsError
from autolabel.hardware import resolve_device
from autolabel.labels import png
from autolabel.labels.visualize import grayscale, grayscale_limits, image_png, overlay
from autolabel.progress import Progress, print_err
from autolabel.report.animation import Animation
from autolabel.report.contact_sheet import scale_sheet
from autolabel.report.data import ScaleView
from autolabel.stages import initial_model
from autolabel.store import Artefact, write_file, write_files

if TYPE_CHECKING:
    from autolabel.inference.predictor import Predictor
    from autolabel.models import Network, NetworkCard


@dataclass(frozen=True)
class AnimationOptions:
    """Settings of the animated WebP made of all frames."""

    fps: float
    width: int  # pixels, upper bound


@dataclass(frozen=True)
class PredictOptions:
    scales: tuple[float, ...]
    flip: bool
    threshold: float
    details: bool
    take: FrameSelection
    film: AnimationOptions | None
    device: str
    quiet: bool

    def kinds(self) -> list[str]:
        """The results per image, each a PNG file of its own."""
        shown = [f"{kind}{scale:g}" for scale in self.scales for kind in ("scale", "attention")]
        return ["label", "overlay", *(["sheet", *shown] if self.details else [])]


@dataclass(frozen=True)
class PredictSummary:
    files: list[list[Path]]  # per image
    animation: Path | None
    failed: list[DataError]  # per file that could not be used, or not to its end


def predict_files(weights: Path, paths: tuple[Path, ...], out: Path, request: PredictOptions) -> PredictSummary:
    """Label images, animations and videos: NAME_label.png, NAME_overlay.png, and with `details` a view per scale.

    All possible checks come before anything is written. Raises WeightsError, ImageError, DataError and ConfigError.
    A file that turns out to be damaged is left out, and the next one follows; if no file is left, its error is raised.
    No input file is ever replaced.
    """
    from autolabel.inference.predictor import Predictor

    sources = find_sources(paths, out, request.take)
    check_out(out, sources, request.kinds())
    expected = sum(expected_images(source, request.take) for source in sources)
    model, card = open_network(weights)
    predictor = Predictor(
        model,
        card,
        scales=request.scales,
        flip=request.flip,
        threshold=request.threshold,
        device=resolve_device(request.device),
    )
    labeller = _LabelWriter(predictor, _colours(card.class_names), out, request)
    with Progress(total=expected, desc="predict", unit="image", quiet=request.quiet) as bar:
        for source in sources:
            labeller.label(source, bar)
    return labeller.finish()


class _LabelWriter:
    """Writes the results of each image at once, so that finished ones stay."""

    def __init__(self, predictor: Predictor, colours: np.ndarray, out: Path, request: PredictOptions) -> None:
        self._predictor, self._colours, self._out, self._request = predictor, colours, out, request
        self._written: list[list[Path]] = []
        self._failed: list[DataError] = []
        film = request.film
        self._animation = None if film is None else Animation(width=film.width, fps=film.fps)

    def label(self, source: MediaFile, bar: Progress) -> None:
        try:
            for frame in read_images(source, self._request.take):
                self._label(frame)
                bar.update()
        except DataError as error:
            self._failed.append(error)

    def _label(self, frame: Frame) -> None:
        labels = self._predictor.train_ids(frame.pixels)
        shown = overlay(frame.pixels, labels, self._colours)
        products = {"label": png.encode(labels), "overlay": image_png(shown)}
        if self._request.details:
            products |= _details(self._predictor, frame.pixels, labels, self._colours)
        rows = [(f"{frame.name}_{kind}.png", data) for kind, data in products.items()]
        write_files(self._out.absolute(), rows)
        self._written.append([self._out / name for name, _ in rows])
        if self._animation is not None:
            self._animation.add(shown)

    def finish(self) -> PredictSummary:
        """Raise the first failure if nothing was labelled."""
        if self._failed and not self._written:
            raise self._failed[0]
        film = None
        if self._animation is not None:
            film = self._out / ANIMATION
            write_file(film.absolute(), *self._animation.chunks())
        return PredictSummary(self._written, film, self._failed)


def _details(predictor: Predictor, image: np.ndarray, labels: np.ndarray, colours: np.ndarray) -> dict[str, bytes]:
    """The prediction and attention of each scale, and a sheet of all of them."""
    details = predictor.details(image)
    limits = grayscale_limits(details.attention.values())
    views = [ScaleView(scale, details.labels[scale], details.attention[scale]) for scale in sorted(details.labels)]
    products = {"sheet": image_png(scale_sheet(image, labels, views, colours))}
    for view in views:
        products[f"scale{view.scale:g}"] = image_png(overlay(image, view.prediction, colours))
        products[f"attention{view.scale:g}"] = image_png(grayscale(view.weight, limits))
    return products


def open_network(path: Path) -> tuple[Network, NetworkCard]:
    """Open a weights file, an artefact, or a Hugging Face folder (which keeps its own classes)."""
    from autolabel.models.huggingface import model_as_it_is

    if (path / initial_model.CONFIG).is_file():
        model, card, _ = model_as_it_is(initial_model.read_files(str(path)), None, {})
        return model, card
    return trained_network(read_model(path), path)


def trained_network(data: bytes, where: object) -> tuple[Network, NetworkCard]:
    """Raises WeightsError, also for an import with untrained layers."""
    from autolabel.models import network_from_bytes
    from autolabel.models.weights_file import check_trained

    model, card = network_from_bytes(data, where)
    check_trained(card, where)
    return model, card


def read_model(path: Path) -> bytes:
    """Read a file, or an artefact's weights with their digest checked."""
    if not path.is_dir():
        return read_weights(path)
    if not (path / "COMMIT").is_file() or WEIGHTS not in (artefact := Artefact.open(path)).names():
        remedy = f"give one, the path of a {WEIGHTS}, or a Hugging Face folder"
        raise WeightsError(path, "is no teacher or student artefact", remedy)
    return artefact.read(WEIGHTS)


def _colours(class_names: tuple[str, ...]) -> np.ndarray:
    """(256, 3) colours of the known class set with these names, or the default palette."""
    for known in CLASS_SETS.values():
        if known.names == class_names:
            return known.colours()
    table = np.zeros((256, 3), np.uint8)
    table[: len(class_names)] = default_palette(len(class_names))
    return table


MAX_FRAMES = 10**9


@click.command()
@click.option(
    "--teacher",
    "weights",
    type=click.Path(path_type=Path),
    required=True,
    help="weights.safetensors, a teacher or student artefact, or a Hugging Face folder.",
)
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option("--scales", default="0.5,1.0,2.0", show_default=True, help="Inference scales; 1.0 among them.")
@click.option("--flip", is_flag=True, help="Also look at the mirrored image.")
@click.option(
    "--threshold",
    type=float,
    default=0.0,
    help="Pixels no likelier than this become ignore (255); by default none do.",
)
@click.option("--details", is_flag=True, help="Also write prediction and attention per scale, and a sheet of all.")
@click.option(
    "--every", type=click.IntRange(1, MAX_FRAMES), default=1, help="Of a video or folder, take each N-th frame."
)
@click.option(
    "--max-frames",
    type=click.IntRange(1, MAX_FRAMES),
    help="Most frames or files to take from each video or folder.",
)
@click.option("--animate", is_flag=True, help="Also write animation.webp: all overlays in order.")
@click.option(
    "--fps", type=click.FloatRange(0.1, 100), default=10, show_default=True, help="Frames a second of --animate."
)
@click.option(
    "--width", type=click.IntRange(1, 16383), default=640, show_default=True, help="Pixels, at most, of --animate."
)
@device_option
@json_option
@quiet_option
def predict(
    weights: Path,
    images: tuple[Path, ...],
    out: Path,
    scales: str,
    flip: bool,
    threshold: float,
    details: bool,
    every: int,
    max_frames: int | None,
    animate: bool,
    fps: float,
    width: int,
    device: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Label IMAGES (files, folders, videos): a label PNG of train ids and a colour overlay for each."""
    from autolabel.cli.predict_inputs import FrameSelection

    if threshold and not 0.001 <= threshold <= 0.999999:
        raise click.BadParameter(f"--threshold {threshold:g}: 0, or a probability from 0.001 to 0.999999")
    request = PredictOptions(
        scales=parse_scales(scales),
        flip=flip,
        threshold=threshold,
        details=details,
        take=FrameSelection(every, max_frames),
        film=AnimationOptions(fps, width) if animate else None,
        device=device or "auto",
        quiet=quiet,
    )
    _print_summary(predict_files(weights, images, out, request), out, as_json=as_json)


def _print_summary(result: PredictSummary, out: Path, *, as_json: bool) -> None:
    """Print the result; raise ItemsFailed if a file could not be used."""
    files = [str(path) for paths in result.files for path in paths]
    if as_json:
        found = {"images": len(result.files), "out": str(out), "files": files}
        failed = [str(error) for error in result.failed]
        print_json({**found, "animation": result.animation and str(result.animation), "failed": failed})
    else:
        echo(f"{len(result.files)} image(s) labelled in {out}")
        if result.animation:
            echo(f"animation {result.animation}")
    for error in result.failed:
        print_err(f"autolabel: {error}")
    if result.failed:
        raise ItemsFailed(out, f"finished, but {len(result.failed)} file(s) could not be used to the end")


COMMANDS = [predict]
