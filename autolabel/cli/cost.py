"""`autolabel cost`: parameters and FLOPs of a network, counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autolabel.cli.options import echo, json_option, parse_scales, parse_size, print_json
from autolabel.config.load import load_experiment
from autolabel.config.networks import ModelConfig, TrainConfig
from autolabel.config.schema import InferConfig
from autolabel.errors import ConfigError, DataError
from autolabel.hub.record import CONFIG
from autolabel.user_files import open_regular, reading

if TYPE_CHECKING:
    from autolabel.models.flops import Cost

CLASSES = 19
BASELINE = "single"  # the reference of relative costs


@dataclass(frozen=True)
class CostQuery:
    """The networks to count, and the size of the image."""

    table: ModelConfig
    fusions: tuple[str, ...]
    classes: int
    size: tuple[int, int]  # height, width
    scales: tuple[float, ...]  # of labelling


@dataclass(frozen=True)
class Row:
    fusion: str
    training: Cost
    labelling: Cost | None  # empty where the fusion cannot fuse these scales
    prepared: Cost | None  # the same for the copy of the network that labels on a GPU


@click.command()
@click.argument("target", required=False, type=click.Path(path_type=Path))
@click.option("--trunk", help=f"Default: {ModelConfig().trunk}.")
@click.option("--head", help=f"Default: {ModelConfig().head}.")
@click.option("--fusion", help="Default: all.")
@click.option("--classes", type=click.IntRange(1, 65_535), help=f"Default: those of the weights, or {CLASSES}.")
@click.option(
    "--size", "size_text", metavar="HxW", help="Size of the image; default: the experiment's crop, or 1024x2048."
)
@click.option("--scales", "scales_text", help="Scales to label with; default: the experiment's, or 0.5,1,2.")
@json_option
def cost(
    target: Path | None,
    trunk: str | None,
    head: str | None,
    fusion: str | None,
    classes: int | None,
    size_text: str | None,
    scales_text: str | None,
    as_json: bool,
) -> None:
    """Count parameters and FLOPs of a network: TARGET (an experiment's teacher, or weights), or --trunk and --head.

    FLOPs are those of one image's forward pass, 2 per multiply-add. The backward pass takes about twice as many.
    """
    named = {key: value for key, value in {"trunk": trunk, "head": head, "fusion": fusion}.items() if value is not None}
    if target is not None and named:
        raise click.UsageError(f"TARGET says which network it is: leave --{next(iter(named))} out")
    size = parse_size(size_text) if size_text is not None else None
    scales = parse_scales(scales_text) if scales_text is not None else None
    found = _of_target(target) if target is not None else _of_names(named)
    question = CostQuery(
        found.table, found.fusions, classes or found.classes, size or found.size, scales or found.scales
    )
    rows = _rows(question)
    if as_json:
        print_json(_as_json(question, rows))
    else:
        for line in _text(question, rows):
            echo(line)


def _of_names(named: dict[str, str]) -> CostQuery:
    from autolabel.models.fusion import FUSIONS
    from autolabel.models.lookup import choose

    table = ModelConfig.model_validate(named)
    choose("fusion", table.fusion, FUSIONS)  # before anything is counted
    fusions = (table.fusion,) if "fusion" in named else tuple(reversed(FUSIONS))  # the simplest first
    return CostQuery(table, fusions, CLASSES, TrainConfig().crop, InferConfig().scales)


def _of_target(path: Path) -> CostQuery:
    """A folder is an artefact, a text file is an experiment, and a file with zero bytes at its start is safetensors."""
    with reading(path, DataError, "give an experiment file or weights"):
        if path.is_dir():
            return _of_weights(path)
        with open_regular(path) as file:
            start = file.read(8)
    return _of_weights(path) if b"\0" in start else _of_experiment(path)


def _of_weights(path: Path) -> CostQuery:
    from autolabel.cli.networks import read_model
    from autolabel.models import HuggingFaceCard, weights_from_bytes
    from autolabel.models.weights_file import read_card

    if (path / CONFIG).is_file():
        raise _not_ours(path, "is a Hugging Face network")
    data = read_model(path)
    if isinstance(read_card(data, path), HuggingFaceCard):
        raise _not_ours(path, "holds a Hugging Face network")
    model, card = weights_from_bytes(data, path)
    return CostQuery(card.table, (card.table.fusion,), model.num_classes, TrainConfig().crop, InferConfig().scales)


def _not_ours(path: Path, what: str) -> ConfigError:
    return ConfigError(path, what, "cost counts autolabel's own networks only: a trunk, a head and a fusion")


def _of_experiment(path: Path) -> CostQuery:
    experiment = load_experiment(path)
    if experiment.teacher.huggingface is not None:
        raise _not_ours(path, "its teacher is a Hugging Face network")
    table, crop = experiment.teacher.model, experiment.teacher.crop
    return CostQuery(table, (table.fusion,), CLASSES, crop, experiment.infer.scales)


def _rows(question: CostQuery) -> list[Row]:
    """The row of the baseline, then a row per fusion."""
    return [_row(question, fusion) for fusion in dict.fromkeys((BASELINE, *question.fusions))]


def _row(question: CostQuery, fusion: str) -> Row:
    from autolabel.inference.optimize import prepare
    from autolabel.models.flops import count_labelling, count_training

    softmax = question.table.softmax and fusion == question.table.fusion
    table = question.table.model_copy(update={"fusion": fusion, "softmax": softmax})
    classes, size, scales = question.classes, question.size, question.scales
    training = count_training(table, classes, size)
    try:
        labelling = count_labelling(table, classes, size, scales)
    except ConfigError:  # its fusion cannot take these scales: the network itself was fine a line before
        return Row(fusion, training, None, None)
    prepared = count_labelling(table, classes, size, scales, prepare=partial(prepare, device="meta"))
    return Row(fusion, training, labelling, prepared)


def _as_json(question: CostQuery, rows: list[Row]) -> dict[str, Any]:
    def of(cost: Cost, baseline: Cost) -> dict[str, Any]:
        relative = {"trunk": cost.flops.trunk / baseline.flops.trunk, "total": cost.flops.total / baseline.flops.total}
        flops = cost.flops._asdict() | {"total": cost.flops.total}
        return {"scales": cost.scales, "flops": flops, "skipped": cost.skipped, "relative": relative}

    base = rows[0].training
    return {
        "trunk": question.table.trunk,
        "head": question.table.head,
        "classes": question.classes,
        "size": question.size,
        "fusions": {
            row.fusion: {
                "parameters": row.training.parameters._asdict() | {"total": row.training.parameters.total},
                "training": of(row.training, base),
                "labelling": of(row.labelling, base) if row.labelling else None,
                "prepared": of(row.prepared, base) if row.prepared else None,
            }
            for row in rows
        },
    }


def _text(question: CostQuery, rows: list[Row]) -> Iterator[str]:
    height, width = question.size
    table = question.table
    yield f"{table.trunk} + {table.head}, {question.classes} classes, an image of {height} x {width}"
    yield "GFLOPs of the forward pass, 2 per multiply-add; cost relative to training a single scale"
    leaner = any(row.labelling and row.prepared and row.labelling.flops != row.prepared.flops for row in rows)
    for title in ("training", "labelling", *(["prepared"] if leaner else [])):
        yield ""
        yield (
            f"{title:<14}{'scales':<14}{'parameters':>11}{'trunk':>10}{'head':>17}{'attention':>17}{'total':>10}"
            f"{'trunk cost':>12}{'total cost':>12}"
        )
        for row in rows:
            yield _line(row.fusion, getattr(row, title), rows[0].training)
    skipped = [row for row in rows if row.training.skipped]
    yield from [""] if skipped else []
    for row in skipped:
        parts = [("training", row.training), *([("labelling", row.labelling)] if row.labelling else [])]
        saved = ", ".join(f"{_giga(cost.skipped)} in {title}" for title, cost in parts)
        yield f"{row.fusion}: the highest scale's attention is never read; leaving it out saves {saved}"
    if leaner:
        yield "prepared: labelling by the copy of the network that runs on a GPU: the same function in fewer operations"


def _line(fusion: str, cost: Cost | None, base: Cost) -> str:
    if cost is None:
        return f"{fusion:<14}-"
    flops, total = cost.flops, cost.flops.total
    head, attention = (f"{_giga(n)} ({100 * n / total:.0f} %)" for n in (flops.head, flops.attention))
    scales = ",".join(f"{scale:g}" for scale in cost.scales)
    return (
        f"{fusion:<14}{scales:<14}{cost.parameters.total / 1e6:>9,.2f} M{_giga(flops.trunk):>10}{head:>17}"
        f"{attention:>17}{_giga(total):>10}{flops.trunk / base.flops.trunk:>11.2f}x{total / base.flops.total:>11.2f}x"
    )


def _giga(flops: int) -> str:
    return f"{flops / 1e9:,.1f}"


COMMANDS = [cost]
