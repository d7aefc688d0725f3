"""Stage table: several trainings and evaluations side by side, a row each (Table 3 of the method)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from autolabel.artifacts import open_model
from autolabel.config.schema import Config
from autolabel.flow.stage import Context, Stage, StageResult

TABLE_JSON, TABLE_MARKDOWN = "table.json", "table.md"
HEADER = ("", "train scales", "eval scales", "mIoU", "trunk cost", "network cost")  # of `cells`


class Row(Config):
    """Which of the `models` it is about, which of the `evaluations` measured it, and at which scales."""

    title: str
    model: str
    evaluation: str
    eval_scales: tuple[float, ...]


class Rows(Config):
    rows: tuple[Row, ...]
    crop: tuple[int, int]  # height, width that all were trained on


def run(ctx: Context) -> StageResult:
    """Costs are those of the first row's training. Times are no part of it: they differ from run to run."""
    models, evaluations = ctx.group("models"), ctx.group("evaluations")
    trainings = {name: _training(model, ctx.settings.crop) for name, model in models.items()}
    base = trainings[ctx.settings.rows[0].model]["flops"]
    rows = [
        {
            "title": row.title,
            "train_scales": trainings[row.model]["scales"],
            "eval_scales": list(row.eval_scales),
            "miou": evaluations[row.evaluation].meta["miou"],
            "trunk_cost": trainings[row.model]["flops"].trunk / base.trunk,
            "network_cost": trainings[row.model]["flops"].total / base.total,
            "steps": models[row.model].meta["steps"],
            "model": row.model,
        }
        for row in ctx.settings.rows
    ]
    ctx.draft.write(TABLE_JSON, json.dumps(rows, indent=1, sort_keys=True).encode())
    ctx.draft.write(TABLE_MARKDOWN, markdown(rows).encode())
    return StageResult(meta={"rows": rows})


def _training(artefact: Any, crop: tuple[int, int]) -> dict[str, Any]:
    """The scales a network is trained on, and the FLOPs of a forward pass over them (backward: in proportion)."""
    from autolabel.models import WeightsCard
    from autolabel.models.flops import count_training

    _, card = open_model(artefact)
    assert isinstance(card, WeightsCard), "a model table excludes all others"
    cost = count_training(card.table, card.num_classes, crop)
    return {"scales": list(cost.scales), "flops": cost.flops}


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row as text, mIoU in percent, training costs as multiples of the first row's.

    The published column is the trunk's: it counts pixels. Heads and attention come on top in the network's.
    """
    scales = [", ".join(f"{scale:g}" for scale in row[key]) for key in ("train_scales", "eval_scales")]
    miou = "not defined" if row["miou"] is None else f"{100 * row['miou']:.1f}"
    return [row["title"], *scales, miou, f"{row['trunk_cost']:.2f}x", f"{row['network_cost']:.2f}x"]


TABLE = Stage("table", 1, "table", {"models.*": "weights", "evaluations.*": "evaluation"}, run)
