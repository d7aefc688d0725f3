"""Where the labels of a run come from: the teacher, the thresholds and the audit, found among the run's artefacts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from autolabel.artifacts import AUDIT_FILE
from autolabel.errors import StoreError
from autolabel.formats.label_sets import LabelSet
from autolabel.store import Artefact, newest_first, scan


def lineage(labels: LabelSet) -> dict[str, Any]:
    """Facts for the data card; a fact that is not known is None. Damaged neighbours count as missing."""
    facts = labels.facts
    provenance: Mapping[str, Any] = facts.get("provenance") or {}
    experiment = provenance.get("experiment") or {}
    artefacts = _artefacts(labels) if "path" in facts else []
    codes = _input(provenance, "codes", artefacts)
    teacher = None if codes is None else _input(codes.provenance, "model", artefacts)
    digest = _digest(codes.provenance, "model") if codes is not None else None
    return {
        "source": (experiment.get("data") or {}).get("source"),
        "experiment": experiment.get("name"),
        "threshold": facts.get("threshold"),
        "class_thresholds": facts.get("class_thresholds") or {},
        "coarse": facts.get("coarse"),
        "teacher": digest,
        "trained_on": None if teacher is None else teacher.meta.get("trained_on"),
        "pretrained": "" if teacher is None else _origin(teacher.meta),
        "version": provenance.get("autolabel"),
        **_evidence(labels, artefacts),
    }


def _origin(meta: Mapping[str, Any]) -> str:
    """The published weights that the teacher started from; empty if there are none."""
    if "pretrained" not in meta:
        return ""
    from autolabel.models.pretrained import origin  # its package imports torch

    return origin(meta)


def _artefacts(labels: LabelSet) -> list[Artefact]:
    """Those beside the label set, artefacts/STEP/KEY, the newest first; none that a run has set aside."""
    found = []
    for item in scan(labels.facts["path"].parent.parent):
        if item.kind == "committed":
            with suppress(StoreError):
                found.append(Artefact.open(item.path))
    return newest_first(found)


def _digest(provenance: Mapping[str, Any], name: str) -> str | None:
    digest = ((provenance.get("key") or {}).get("inputs") or {}).get(name)
    return digest if isinstance(digest, str) else None


def _input(provenance: Mapping[str, Any], name: str, artefacts: list[Artefact]) -> Artefact | None:
    digest = _digest(provenance, name)
    return next((artefact for artefact in artefacts if artefact.digest == digest), None)


def _evidence(labels: LabelSet, artefacts: list[Artefact]) -> dict[str, Any]:
    """Figures of the newest audit of exactly this label set: another one may know more or fewer images."""
    for artefact in artefacts:
        if AUDIT_FILE.name in artefact.names() and _digest(artefact.provenance, "labels") == labels.digest:
            try:
                audit = AUDIT_FILE.read(artefact)
            except StoreError:
                continue
            return {"lost": audit["ignored"]["lost"], "truth": audit["auto_truth"], "curve": _point(audit, labels)}
    return {"lost": {}, "truth": None, "curve": None}


def _point(audit: Mapping[str, Any], labels: LabelSet) -> Mapping[str, Any] | None:
    """The precision on held-out fine labels at the threshold of the label set."""
    points = (audit["evidence"] or {}).get("thresholds", [])
    return next((point for point in points if point["threshold"] == labels.facts.get("threshold")), None)
