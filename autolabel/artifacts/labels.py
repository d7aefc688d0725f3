"""Artefact `labels`: label PNGs, their manifest, why pixels are ignored, and the confidence of each pixel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

from autolabel.artifacts.json_file import JsonFile
from autolabel.store import Artefact, Draft

if TYPE_CHECKING:
    from autolabel.data.loaders import ConfidenceFile
    from autolabel.data.manifest import Manifest
    from autolabel.labels.label_set import LabelIds, LabelSummary


class LabelsMeta(TypedDict):
    count: int
    bytes: int
    pixels: int
    ignored_share: float
    threshold: float | str  # as in the settings
    class_thresholds: dict[str, float]  # as in the settings
    threshold_on: str  # "network" or "calibrated"
    thresholds: dict[str, float | None]  # by class: the bin edge in use; None: the class keeps no pixel
    coarse: str
    ids: str  # "train" or "dataset": the ids in the label files


class LedgerRow(NamedTuple):
    """Number of pixels of one image by reason: why they carry a class or not."""

    image_id: str
    pixels: Mapping[str, int]


LEDGER_FILE: JsonFile[list[dict[str, Any]]] = JsonFile("ledger.json", indent=0, sort_keys=True)
CONFIDENCE_FILE: JsonFile[dict[str, ConfidenceFile]] = JsonFile("weights.json", indent=0, sort_keys=True)  # by image id


def write_label_set(draft: Draft, manifest: Manifest, rows: Iterable[LabelSummary], label_ids: LabelIds) -> None:
    """The manifest, the table and the legend of a label set; its `classes.json` also states the ids of the PNGs."""
    from autolabel.labels.label_set import Statement, describe

    draft.write_many((manifest.to_files() | describe(Statement(manifest.classes, label_ids), rows)).items())


def labels_meta(artefact: Artefact) -> LabelsMeta:
    return cast(LabelsMeta, artefact.meta)


def read_ledger(artefact: Artefact) -> list[LedgerRow]:
    return [LedgerRow(row.pop("id"), row) for row in LEDGER_FILE.read(artefact)]


def write_ledger(draft: Draft, rows: Iterable[LedgerRow]) -> None:
    LEDGER_FILE.write(draft, [{"id": row.image_id, **row.pixels} for row in rows])
