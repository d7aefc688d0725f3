"""`autolabel predict`: labels and overlays for images, animations and videos, without an experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from autolabel.cli.label_ids import label_id_options, statement_of
from autolabel.cli.networks import open_with_digest
from autolabel.cli.options import (
    device_option,
    echo,
    json_option,
    overwrite_option,
    parse_scales,
    print_json,
    quiet_option,
)
from autolabel.cli.predict_inputs import (
    ANIMATION,
    MAX_PIXELS,
    Frame,
    FrameSelection,
    MediaFile,
    check_out,
    expected_images,
    find_sources,
    read_images,
    result_names,
)
from autolabel.cli.predict_labels import LabelFolder
from autolabel.cli.predict_windows import WindowOptions, Windows, window_options
from autolabel.errors import DataError, ItemsFailed
from autolabel.hardware import resolve_device
from autolabel.labels import png
from autolabel.labels.codebook import default_edges
from autolabel.labels.label_set import FOLDER, LabelIds, LabelSummary
from autolabel.labels.threshold import count_pixels
from autolabel.labels.visualize import grayscale, grayscale_limits, image_png, overlay
from autolabel.progress import Progress, print_err
from autolabel.report.animation import Animation
from autolabel.store import OutputFolder, check_output, open_output

if TYPE_CHECKING:
    from autolabel.inference.predictor import Predictor


INDEX = "predictions.json"  # settings, and name and digest of each file; written last
OVERLAYS, SHEETS = "overlays", "sheets"
MAX_FRAMES = 10**9
_EDGE_DISTANCE = 1e-3  # a bin edge nearer to the threshold may be the same in float32


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
    label_ids: LabelIds
    class_file: Path | None
    device: str
    quiet: bool
    overwrite: bool = False
    windows: WindowOptions = field(default_factory=WindowOptions)
    max_pixels: int = MAX_PIXELS

    def work(self) -> dict[str, Any]:
        """The settings that results depend on."""
        film = None if self.film is None else [self.film.fps, self.film.width]
        return {
            "command": "predict",
            "scales": list(self.scales),
            "flip": self.flip,
            "threshold": self.threshold,
            "details": self.details,
            "every": self.take.every,
            "max_frames": self.take.most,
            "animation": film,
            **({"window": list(self.windows.size), "overlap": self.windows.overlap} if self.windows.size else {}),
        }

    def kinds(self) -> list[str]:
        """The folders of the results; each holds a PNG per image."""
        shown = [f"{kind}{scale:g}" for scale in self.scales for kind in ("scale", "attention")]
        return [FOLDER, OVERLAYS, *([SHEETS, *shown] if self.details else [])]


@dataclass(frozen=True)
class PredictSummary:
    files: list[list[Path]]  # per image
    animation: Path | None
    failed: list[DataError]  # per file that could not be used, or not to its end


def predict_files(weights: Path, paths: tuple[Path, ...], out: Path, request: PredictOptions) -> PredictSummary:
    """Label images, animations and videos: labels/NAME.png, overlays/NAME.png, and with `details` a view per scale.

    All possible checks come before anything is written. Raises WeightsError, ImageError, DataError and ConfigError.
    A file that turns out to be damaged is left out, and the next one follows; if no file is left, its error is raised.
    No input file is ever replaced.
    """
    from autolabel.inference.predictor import Predictor

    sources = find_sources(paths, out, request.take)
    check_out(out, sources, request.kinds())
    expected = sum(expected_images(source, request.take, request.max_pixels) for source in sources)
    model, card, digest = open_with_digest(weights)
    folder = LabelFolder(out.absolute(), statement_of(card.class_names, request.label_ids, request.class_file))
    predictor = Predictor(
        model,
        card,
        scales=request.scales,
        flip=request.flip,
        threshold=request.threshold,
        edges=[edge for edge in default_edges(model.num_classes) if abs(edge - request.threshold) > _EDGE_DISTANCE],
        device=resolve_device(request.device),
    )
    windows = Windows(model, request.windows, scales=request.scales, flip=request.flip, device=predictor.device)
    work = request.work() | {"weights": digest, "statement": folder.statement.to_json().decode()}
    opening = partial(open_output, out, work=work, index=INDEX, overwrite=request.overwrite)
    names = result_names(out, sources, request.kinds(), animated=request.film is not None)
    check_output(out, work=work, index=INDEX, names=names, overwrite=request.overwrite)
    with (
        _LabelWriter(predictor, windows, folder, out, request, opening) as labeller,
        Progress(total=expected, desc="predict", unit="image", quiet=request.quiet) as bar,
    ):
        for source in sources:
            labeller.label(source, bar)
        return labeller.finish(work)


class _LabelWriter(ExitStack):
    """Writes the results of each image at once, so that finished ones stay. The folder is opened with the first one."""

    def __init__(
        self,
        predictor: Predictor,
        windows: Windows,
        folder: LabelFolder,
        out: Path,
        request: PredictOptions,
        opening: Callable[[], AbstractContextManager[OutputFolder]],
    ) -> None:
        super().__init__()
        self._opening, self._opened = opening, list[OutputFolder]()
        self._windows = windows
        self._predictor, self._folder, self._out, self._request = predictor, folder, out, request
        self._colours, self._values = folder.statement.classes.colours(), folder.statement.values()
        self._written: list[list[Path]] = []
        self._failed: list[DataError] = []
        film = request.film
        self._animation = None if film is None else Animation(width=film.width, fps=film.fps)

    def label(self, source: MediaFile, bar: Progress) -> None:
        try:
            for frame in read_images(source, self._request.take, self._request.max_pixels):
                self._label(frame)
                bar.update()
        except DataError as error:
            self._failed.append(error)

    def _output(self) -> OutputFolder:
        if not self._opened:
            self._opened.append(self.enter_context(self._opening()))
            self._folder.begin(self._opened[0])
        return self._opened[0]

    def _label(self, frame: Frame) -> None:
        try:
            window, overlap = self._windows.of(frame.image, frame.pixels, whole=self._request.details)
            labels, confidence = self._predictor.predict(frame.pixels, window=window, overlap=overlap)
        except DataError as error:
            raise DataError(frame.image, error.what, error.remedy) from error
        shown = overlay(frame.pixels, labels, self._colours)
        products = {FOLDER: png.encode(self._values[labels]), OVERLAYS: image_png(shown)}
        if self._request.details:
            products |= _details(self._predictor, frame.pixels, labels, self._colours)
        rows = [(f"{kind}/{frame.name}.png", data) for kind, data in products.items()]
        self._output().write(rows)
        counts = count_pixels(labels, self._folder.statement.classes.num_classes)
        self._folder.rows.append(LabelSummary(frame.image, f"{frame.name}.png", counts, confidence))
        self._written.append([self._out / name for name, _ in rows])
        if self._animation is not None:
            self._animation.add(shown)

    def finish(self, work: Mapping[str, Any]) -> PredictSummary:
        """Raise the first failure if nothing was labelled."""
        if self._failed and not self._written:
            raise self._failed[0]
        output, film = self._output(), None
        self._folder.finish(output)
        if self._animation is not None:
            film = self._out / ANIMATION
            output.write([(ANIMATION, b"".join(self._animation.chunks()))])
        output.finish({"work": work, "windows": self._windows.chosen, "files": output.rows()})
        return PredictSummary(self._written, film, self._failed)


def _details(predictor: Predictor, image: np.ndarray, labels: np.ndarray, colours: np.ndarray) -> dict[str, bytes]:
    """The prediction and attention of each scale, and a sheet of all of them."""
    from autolabel.report.contact_sheet import scale_sheet
    from autolabel.report.data import ScaleView

    details = predictor.details(image)
    limits = grayscale_limits(details.attention.values())
    views = [ScaleView(scale, details.labels[scale], details.attention[scale]) for scale in sorted(details.labels)]
    products = {SHEETS: image_png(scale_sheet(image, labels, views, colours))}
    for view in views:
        products[f"scale{view.scale:g}"] = image_png(overlay(image, view.prediction, colours))
        products[f"attention{view.scale:g}"] = image_png(grayscale(view.weight, limits))
    return products


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
@label_id_options
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
@window_options
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=MAX_PIXELS,
    show_default=True,
    help="Larger images are refused before they are decoded.",
)
@overwrite_option
@device_option
@json_option
@quiet_option
def predict(
    weights: Path,
    images: tuple[Path, ...],
    out: Path,
    label_ids: LabelIds,
    class_file: Path | None,
    scales: str,
    flip: bool,
    threshold: float,
    details: bool,
    every: int,
    max_frames: int | None,
    animate: bool,
    fps: float,
    width: int,
    windows: WindowOptions,
    max_pixels: int,
    overwrite: bool,
    device: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Label IMAGES (files, folders, videos): a label PNG and a colour overlay for each, under the path of the image."""
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
        label_ids=label_ids,
        class_file=class_file,
        device=device or "auto",
        quiet=quiet,
        overwrite=overwrite,
        windows=windows,
        max_pixels=max_pixels,
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
