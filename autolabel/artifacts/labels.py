"""Artefact `labels`: label PNGs, their manifest, why pixels are ignored, and the confidence of each pixel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, TypedDict, cast

from autolabel.artifacts.json_file import JsonFile
from autolabel.store import Artefact, Draft

if TYPE_CHECKING:
    from autolabel.data.loaders import ConfidenceFile
    from autolabel.data.manifest import Manifest
    from autolabel.labels.label_rules import LabelRules
    from autolabel.labels.label_set import LabelIds, LabelSummary


class RulesMeta(TypedDict):
    """The rules by class, as `labels.label_rules` applies them."""

    policies: list[str]  # use of the coarse label, by train id
    sets: list[list[int]]  # train ids that a coarse class may stand for, by train id
    border: int  # pixels along the border of coarse polygons
    least: list[int]  # pixels of the smallest region, by train id
    ego: bool  # whether `ego.png` says which pixels the camera's own vehicle takes


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
    rules: NotRequired[RulesMeta]  # where rules for single classes are in use


class LedgerRow(NamedTuple):
    """Number of pixels of one image by reason: why they carry a class or not."""

    image_id: str
    pixels: Mapping[str, int]


EGO_MASK = "ego.png"
LEDGER_FILE: JsonFile[list[dict[str, Any]]] = JsonFile("ledger.json", indent=0, sort_keys=True)
CONFIDENCE_FILE: JsonFile[dict[str, ConfidenceFile]] = JsonFile("weights.json", indent=0, sort_keys=True)  # by image id


def write_label_set(draft: Draft, manifest: Manifest, rows: Iterable[LabelSummary], label_ids: LabelIds) -> None:
    """The manifest, the table and the legend of a label set; its `classes.json` also states the ids of the PNGs."""
    from autolabel.labels.label_set import Statement, describe

    draft.write_many((manifest.to_files() | describe(Statement(manifest.classes, label_ids), rows)).items())


def labels_meta(artefact: Artefact) -> LabelsMeta:
    return cast(LabelsMeta, artefact.meta)


def label_rules(rules: RulesMeta | None, ego: bytes | None) -> LabelRules | None:
    """The rules as they are applied, with the bytes of the ego mask; None where there are none."""
    import numpy as np

    from autolabel.labels import png
    from autolabel.labels.label_rules import LabelRules, coarse_tables

    if rules is None:
        return None
    tables = coarse_tables(rules["policies"], [frozenset(ids) for ids in rules["sets"]])
    least = np.zeros(256, np.int64)
    least[: len(rules["least"])] = rules["least"]
    mask = None if ego is None else png.decode(ego, where=EGO_MASK) != 0
    off = tuple(k for k, policy in enumerate(rules["policies"]) if policy == "off")
    return LabelRules(*tables, rules["border"], least if any(rules["least"]) else None, mask, off)


def read_label_rules(artefact: Artefact) -> LabelRules | None:
    """The rules that a label set was cut with."""
    ego = artefact.read(EGO_MASK) if EGO_MASK in artefact.names() else None
    return label_rules(labels_meta(artefact).get("rules"), ego)


def coarse_policies(meta: LabelsMeta, num_classes: int) -> list[str]:
    """The use of the coarse label by train id."""
    return meta["rules"]["policies"] if "rules" in meta else [meta["coarse"]] * num_classes


def read_ledger(artefact: Artefact) -> Iterator[LedgerRow]:
    return (LedgerRow(row.pop("id"), row) for row in LEDGER_FILE.read_items(artefact))


def write_ledger(draft: Draft, rows: Iterable[LedgerRow]) -> None:
    LEDGER_FILE.write_items(draft, ({"id": row.image_id, **row.pixels} for row in rows))
