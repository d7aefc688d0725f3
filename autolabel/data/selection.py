"""Which rows each stage works on."""

from __future__ import annotations

from collections.abc import Sequence

from autolabel.data.manifest import Manifest
from autolabel.data.rows import ImageRow, LabelRow
from autolabel.errors import DataError

Pair = tuple[ImageRow, LabelRow]


def training_pairs(manifest: Manifest, roles: Sequence[str]) -> list[Pair]:
    """Train images with the first label of `roles` that each has; images without one are left out.

    Raises DataError where no image has one, and for role truth, which must never be trained on.
    """
    if "truth" in roles:
        raise DataError(
            "label roles", "'truth' is the hidden answer and may not be trained on", "use fine, coarse or auto"
        )
    pairs = [(row, label) for row in manifest.split("train") if (label := _first(manifest, row, roles)) is not None]
    if not pairs:
        raise DataError("manifest", f"no train image has a label of {' or '.join(roles)}", "choose other label layers")
    return pairs


def val_pairs(manifest: Manifest) -> list[Pair]:
    """Images of split val with their fine labels."""
    return [(row, label) for row in manifest.split("val") if (label := manifest.label(row.id, "fine")) is not None]


def to_label(manifest: Manifest) -> list[ImageRow]:
    """The images a teacher shall label: split train, no fine label."""
    return [row for row in manifest.split("train") if manifest.label(row.id, "fine") is None]


def _first(manifest: Manifest, row: ImageRow, roles: Sequence[str]) -> LabelRow | None:
    labels = (manifest.label(row.id, role) for role in roles)
    return next((label for label in labels if label is not None), None)
