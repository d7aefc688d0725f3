"""Commands that need no experiment: `predict` on pictures, `cut` on codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autolabel.cli.options import (
    device_option,
    echo,
    jobs_option,
    json_option,
    parse_scales,
    print_json,
    quiet_option,
    size,
)
from autolabel.errors import ItemsFailed
from autolabel.progress import tell

if TYPE_CHECKING:
    from autolabel.cli.predicting import Predicted

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
    "--threshold", type=float, default=0.0, help="What is no likelier than this is ignore (255); by default nothing is."
)
@click.option(
    "--details", is_flag=True, help="Also write every scale's prediction and attention map, and a sheet of all."
)
@click.option(
    "--every", type=click.IntRange(1, MAX_FRAMES), default=1, help="Of a video or folder, take each N-th frame."
)
@click.option("--max-frames", type=click.IntRange(1, MAX_FRAMES), help="Take at most so many of each video or folder.")
@click.option("--animate", is_flag=True, help="Also write animation.webp: all overlays in their order.")
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
    """Label IMAGES (files, folders, videos): a label PNG of train ids and a colour overlay each."""
    from autolabel.cli.pictures import Take
    from autolabel.cli.predicting import Film, Request, predict_files

    if threshold and not 0.001 <= threshold <= 0.999999:
        raise click.BadParameter(f"--threshold {threshold:g}: 0, or a probability from 0.001 to 0.999999")
    request = Request(
        scales=parse_scales(scales),
        flip=flip,
        threshold=threshold,
        details=details,
        take=Take(every, max_frames),
        film=Film(fps, width) if animate else None,
        device=device or "auto",
        quiet=quiet,
    )
    _tell_predicted(predict_files(weights, images, out, request), out, as_json=as_json)


def _tell_predicted(result: Predicted, out: Path, *, as_json: bool) -> None:
    """ItemsFailed at the end where a file could not be used."""
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
        tell(f"autolabel: {error}")
    if result.failed:
        raise ItemsFailed(out, f"finished, but {len(result.failed)} file(s) could not be used to the end")


@click.command()
@click.argument("codes", type=click.Path(path_type=Path))
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="A bin edge.")
@click.option("--class-threshold", "class_thresholds", multiple=True, metavar="CLASS=T", help="For one class.")
@click.option("--codec", default="default", show_default=True, help="default or archive: smaller, slow; same pixels.")
@click.option("--backend", default="threads", show_default=True, help="threads, loky, dask or ray: where it is done.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the label PNGs.")
@jobs_option
@json_option
@quiet_option
def cut(
    codes: Path,
    threshold: float,
    class_thresholds: tuple[str, ...],
    codec: str,
    backend: str,
    out: Path,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Cut label PNGs from CODES (an infer artefact, or a shard file) at another threshold."""
    from autolabel.cli.cutting import cut_codes

    per_class = dict(_class_threshold(text) for text in class_thresholds)
    result = cut_codes(
        codes,
        out,
        threshold=threshold,
        class_thresholds=per_class,
        codec=codec,
        backend=backend,
        jobs=jobs or 0,
        quiet=quiet,
    )
    if as_json:
        print_json(result)
    else:
        ignored = f"{100 * result['ignored_share']:.1f} % ignored"
        echo(f"{result['count']} labels, {size(result['bytes'])}, {ignored}, in {out}")


def _class_threshold(text: str) -> tuple[str, float]:
    name, separator, value = text.rpartition("=")
    try:
        threshold = float(value)
    except ValueError:
        threshold = -1.0
    if not separator or not 0 <= threshold <= 1:
        raise click.BadParameter(f"{text!r} is not of the form CLASS=THRESHOLD, e.g. car=0.7")
    return name, threshold


COMMANDS = [predict, cut]
