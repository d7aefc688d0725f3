"""Stage table: several trainings and evaluations side by side, a row each (Table 3 of the method)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autolabel.artifacts import (
    TABLE_FILE,
    TABLE_PAGE,
    TableMeta,
    TableRow,
    evaluation_meta,
    read_network,
    training_meta,
)
from autolabel.config.base import Config
from autolabel.flow.stage import Context, Stage, StageResult
from autolabel.store import Artefact

if TYPE_CHECKING:
    from autolabel.models.flops import Cost

HEADER = ("", "train scales", "eval scales", "mIoU (95 %)", "trunk cost", "network cost")  # of `cells`


class Row(Config):
    """One row: which of the `models`, which of the `evaluations` measured it, and at which scales."""

    title: str
    model: str
    evaluation: str
    eval_scales: tuple[float, ...]


class Rows(Config):
    rows: tuple[Row, ...]
    crop: tuple[int, int]  # height, width that all were trained on


def run(ctx: Context[Rows]) -> StageResult:
    """Costs are multiples of the first row's training. Times differ from run to run, so they stand in no artefact."""
    models, evaluations = ctx.group("models"), ctx.group("evaluations")
    costs = {name: _training_cost(model, ctx.settings.crop) for name, model in models.items()}
    base = costs[ctx.settings.rows[0].model].flops
    rows = [
        TableRow(
            title=row.title,
            train_scales=list(costs[row.model].scales),
            eval_scales=list(row.eval_scales),
            miou=evaluation_meta(evaluations[row.evaluation])["miou"],
            interval=evaluation_meta(evaluations[row.evaluation])["intervals"]["miou"],
            trunk_cost=costs[row.model].flops.trunk / base.trunk,
            network_cost=costs[row.model].flops.total / base.total,
            steps=training_meta(models[row.model])["steps"],
            model=row.model,
        )
        for row in ctx.settings.rows
    ]
    TABLE_FILE.write(ctx.draft, rows)
    ctx.draft.write(TABLE_PAGE, markdown(rows).encode())
    return StageResult(meta=TableMeta(rows=rows))


def _training_cost(artefact: Artefact, crop: tuple[int, int]) -> Cost:
    """The scales a network is trained on, and the FLOPs of a forward pass over them (backward: in proportion)."""
    from autolabel.models import WeightsCard
    from autolabel.models.flops import count_training

    _, card = read_network(artefact)
    assert isinstance(card, WeightsCard), "a model table excludes all others"
    return count_training(card.table, card.num_classes, crop)


def markdown(rows: Sequence[TableRow]) -> str:
    lines = [f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    lines += [line for note in remarks(rows) for line in ("", note)]
    return "\n".join(lines) + "\n"


def remarks(rows: Sequence[TableRow]) -> list[str]:
    """Sentences below the table."""
    from autolabel.evaluation.intervals import TOO_FEW

    few = any(row["miou"] is not None and row["interval"] is None for row in rows)
    return [f"mIoU without an interval: {TOO_FEW}."] if few else []


def cells(row: TableRow) -> list[str]:
    """A row as text, mIoU in percent, training costs as multiples of the first row's.

    The published column is the trunk's: it counts pixels. Heads and attention come on top in the network's.
    """
    scales = [", ".join(f"{scale:g}" for scale in scales) for scales in (row["train_scales"], row["eval_scales"])]
    miou = "not defined" if row["miou"] is None else f"{100 * row['miou']:.1f}"
    if row["interval"]:
        miou += " ({:.1f} to {:.1f})".format(*(100 * end for end in row["interval"]))
    return [row["title"], *scales, miou, f"{row['trunk_cost']:.2f}x", f"{row['network_cost']:.2f}x"]


TABLE = Stage(
    name="table",
    version=3,
    output="table",
    inputs={"models.*": "weights", "evaluations.*": "evaluation"},
    run=run,
)
