"""What the stages say and ask of attention-guided skipping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autolabel.config import Infer, Train
from autolabel.errors import ConfigError
from autolabel.stages.parts.chunks import Chunk, Row

if TYPE_CHECKING:
    from autolabel.inference.skip_stats import SkipWatch
    from autolabel.inference.teacher import Teacher


def check_skip(settings: Infer, teacher: Any) -> None:
    """ConfigError where the network, known by the settings of its training, has no attention to be guided by."""
    if settings.skip == 0 or not isinstance(teacher, Train):
        return
    remedy = "set it to 0, or take such a teacher"
    if teacher.huggingface is not None:
        raise ConfigError("infer.skip", "needs a network of ours with hierarchical attention", remedy)
    model = teacher.model
    if model.fusion != "hierarchical" or model.head != "ocr" or not model.trunk.startswith("hrnet"):
        found = f"the teacher is {model.trunk} with {model.head} and {model.fusion} fusion"
        raise ConfigError("infer.skip", f"needs HRNet with OCR and hierarchical attention; {found}", remedy)


def skip_watch(settings: Infer, teacher: Teacher, chunks: Sequence[Chunk]) -> SkipWatch | None:
    """It checks the same images whichever chunks a process makes; None where nothing is skipped."""
    from autolabel.inference.skip_stats import SkipWatch, spread

    if settings.skip == 0:
        return None
    ids = [row.id for chunk in chunks if chunk.split == "train" for row in chunk.images]
    return SkipWatch(teacher.take_skipped, teacher.dense, teacher.book, spread(ids, settings.skip_check))


def skip_meta(rows: Sequence[Row]) -> dict[str, Any]:
    """Sums over the journal rows; empty where nothing is skipped."""
    from autolabel.inference.skip_stats import SkipStats, total

    counted = [SkipStats.from_row(row["skip"]) for row in rows if "skip" in row]
    return {"skip": total(counted).to_row()} if counted else {}


def skip_shares(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of a codes artefact: shares of the highest scale's pixels, and of those labelled densely too; None where
    nothing is skipped."""
    if "skip" not in meta:
        return None
    skipped, agreement = meta["skip"]["skipped"], meta["skip"]["agreement"]
    checked = agreement["pixels"] or None
    return {
        "skipped": skipped["skipped"] / skipped["pixels"] if skipped["pixels"] else None,
        "checked_images": agreement["images"],
        "same_label": checked and agreement["same_label"] / checked,
        "same_class": checked and agreement["same_class"] / checked,
    }
