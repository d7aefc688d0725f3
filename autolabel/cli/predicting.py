"""`autolabel predict`: labels and overlays for pictures, without an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autolabel.classes import CLASS_SETS
from autolabel.classes.files import default_palette
from autolabel.cli.pictures import (
    ANIMATION,
    Picture,
    Source,
    Take,
    check_out,
    expected_pictures,
    find_sources,
    read_pictures,
)
from autolabel.errors import DataError, WeightsError
from autolabel.labels import png
from autolabel.labels.colour import heat, heat_limits, overlay, picture_png
from autolabel.machine import resolve_device
from autolabel.progress import Progress
from autolabel.report.animation import Animation
from autolabel.report.data import ScaleView
from autolabel.report.sheet import scale_sheet
from autolabel.stages.parts import huggingface
from autolabel.stages.parts.opening import WEIGHTS, read_weights
from autolabel.store import Artefact, write_file, write_files

if TYPE_CHECKING:
    from autolabel.inference.predict import Predictor
    from autolabel.models import Network, NetworkCard


@dataclass(frozen=True)
class Film:
    """How the frames become one animated WebP."""

    fps: float
    width: int  # pixels, at most


@dataclass(frozen=True)
class Request:
    scales: tuple[float, ...]
    flip: bool
    threshold: float
    details: bool
    take: Take
    film: Film | None
    device: str
    quiet: bool

    def kinds(self) -> list[str]:
        """What is written of every picture, each as a PNG of its own."""
        shown = [f"{kind}{scale:g}" for scale in self.scales for kind in ("scale", "attention")]
        return ["label", "overlay", *(["sheet", *shown] if self.details else [])]


@dataclass(frozen=True)
class Predicted:
    files: list[list[Path]]  # of each picture
    animation: Path | None
    failed: list[DataError]  # of each file that could not be used, or not to its end


def predict_files(weights: Path, paths: tuple[Path, ...], out: Path, request: Request) -> Predicted:
    """Label pictures, animations and videos: NAME_label.png, NAME_overlay.png, with `details` what each scale saw.

    What can be known is checked before anything is written: raises WeightsError, ImageError, DataError, ConfigError.
    A file that turns out to be damaged is left there, and the next one taken; if there is nothing else, its error is
    raised. No file that is read is ever replaced.
    """
    from autolabel.inference.predict import Predictor

    sources = find_sources(paths, out, request.take)
    check_out(out, sources, request.kinds())
    expected = sum(expected_pictures(source, request.take) for source in sources)
    model, card = open_network(weights)
    predictor = Predictor(
        model,
        card,
        scales=request.scales,
        flip=request.flip,
        threshold=request.threshold,
        device=resolve_device(request.device),
    )
    labeller = _Labeller(predictor, _colours(card.class_names), out, request)
    with Progress(total=expected, desc="predict", unit="image", quiet=request.quiet) as bar:
        for source in sources:
            labeller.label(source, bar)
    return labeller.finish()


class _Labeller:
    """Writes the results of each picture as it comes, so that what has been done stays."""

    def __init__(self, predictor: Predictor, colours: np.ndarray, out: Path, request: Request) -> None:
        self._predictor, self._colours, self._out, self._request = predictor, colours, out, request
        self._written: list[list[Path]] = []
        self._failed: list[DataError] = []
        film = request.film
        self._animation = None if film is None else Animation(width=film.width, fps=film.fps)

    def label(self, source: Source, bar: Progress) -> None:
        try:
            for picture in read_pictures(source, self._request.take):
                self._label(picture)
                bar.update()
        except DataError as error:
            self._failed.append(error)

    def _label(self, picture: Picture) -> None:
        labels = self._predictor.train_ids(picture.pixels)
        shown = overlay(picture.pixels, labels, self._colours)
        products = {"label": png.encode(labels), "overlay": picture_png(shown)}
        if self._request.details:
            products |= _details(self._predictor, picture.pixels, labels, self._colours)
        rows = [(f"{picture.name}_{kind}.png", data) for kind, data in products.items()]
        write_files(self._out.absolute(), rows)
        self._written.append([self._out / name for name, _ in rows])
        if self._animation is not None:
            self._animation.add(shown)

    def finish(self) -> Predicted:
        """The first failure is raised where there is nothing else to tell."""
        if self._failed and not self._written:
            raise self._failed[0]
        film = None
        if self._animation is not None:
            film = self._out / ANIMATION
            write_file(film.absolute(), *self._animation.chunks())
        return Predicted(self._written, film, self._failed)


def _details(predictor: Predictor, picture: np.ndarray, labels: np.ndarray, colours: np.ndarray) -> dict[str, bytes]:
    """Each scale's prediction over the picture and its attention, and all of them on one sheet."""
    details = predictor.details(picture)
    limits = heat_limits(details.attention.values())
    views = [ScaleView(scale, details.labels[scale], details.attention[scale]) for scale in sorted(details.labels)]
    found = {"sheet": picture_png(scale_sheet(picture, labels, views, colours))}
    for view in views:
        found[f"scale{view.scale:g}"] = picture_png(overlay(picture, view.prediction, colours))
        found[f"attention{view.scale:g}"] = picture_png(heat(view.weight, limits))
    return found


def open_network(path: Path) -> tuple[Network, NetworkCard]:
    """Of a weights file, an artefact, or a Hugging Face folder (then with its own classes)."""
    from autolabel.models.huggingface import model_as_it_is

    if (path / huggingface.CONFIG).is_file():
        model, card, _ = model_as_it_is(huggingface.read_files(str(path)), None, {})
        return model, card
    return trained_network(read_model(path), path)


def trained_network(data: bytes, where: object) -> tuple[Network, NetworkCard]:
    """WeightsError also for one that an import has given layers which know nothing yet."""
    from autolabel.models import network_from_bytes
    from autolabel.models.cards import check_trained

    model, card = network_from_bytes(data, where)
    check_trained(card, where)
    return model, card


def read_model(path: Path) -> bytes:
    """Of a file, or of an artefact: there the bytes are checked."""
    if not path.is_dir():
        return read_weights(path)
    if not (path / "COMMIT").is_file() or WEIGHTS not in (artefact := Artefact.open(path)).names():
        remedy = f"give one, the path of a {WEIGHTS}, or a Hugging Face folder"
        raise WeightsError(path, "is no teacher or student artefact", remedy)
    return artefact.read(WEIGHTS)


def _colours(class_names: tuple[str, ...]) -> np.ndarray:
    """(256, 3) of the class set that has these names; otherwise the colours a class file without a palette gets."""
    for known in CLASS_SETS.values():
        if known.names == class_names:
            return known.colours()
    table = np.zeros((256, 3), np.uint8)
    table[: len(class_names)] = default_palette(len(class_names))
    return table
