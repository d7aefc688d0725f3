"""Where several artefacts fit a label set, commands take the one that is up to date, else the newest."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autolabel.api.label_set import LabelSet
from autolabel.artifacts import AUDIT_FILE
from autolabel.classes import CLASS_SETS
from autolabel.cli import steps
from autolabel.formats import label_sets
from autolabel.formats.lineage import lineage
from autolabel.store import Artefact, open_draft

PARTS = {"classes": "1" * 64}
ORDERS = [(1.0, 2.0), (2.0, 1.0)]  # when the artefacts of the keys 1... and 2... were begun


class Work:
    """Labels made from parts that two manifests have, and two audits of the labels."""

    def __init__(self, folder: Path, started: tuple[float, float]) -> None:
        self.folder, self.newest = folder, started.index(2.0)
        self.manifests, self.audits = [], []
        for key, time in zip("12", started, strict=True):
            self.manifests.append(self.commit("manifest", key, {}, time, parts=PARTS))
        self.labels = self.commit("label", "3", {"data": PARTS}, 1.0)
        for key, time in zip("12", started, strict=True):
            self.audits.append(self.commit("audit", key, {"labels": self.labels.digest}, time))
        label = SimpleNamespace(name="label", inputs={"data": SimpleNamespace(name="manifest")})
        nodes = {"label": label, "audit": SimpleNamespace(name="audit")}
        pipeline = SimpleNamespace(of_stage=lambda stage: [nodes[stage]])
        self.project: Any = SimpleNamespace(work=folder, pipeline=pipeline)
        self.label: Any = label

    def commit(self, step: str, key: str, inputs: dict, started: float, **meta: object) -> Artefact:
        draft = open_draft(self.folder / "artefacts" / step, key * 64)
        if step == "audit":
            audit: Any = {"ignored": {"lost": {}}, "auto_truth": f"audit {key}", "evidence": None}
            AUDIT_FILE.write(draft, audit)
        provenance = {"key": {"inputs": inputs}, "started": started}
        return draft.commit(meta={"of": f"{step} {key}", **meta}, provenance=provenance)

    def evidence(self) -> object:
        facts = {"path": self.labels.path, "provenance": self.labels.provenance}
        classes = CLASS_SETS["synthetic"]
        return lineage(label_sets.LabelSet(self.labels.path, classes, (), "train_ids", self.labels.digest, facts))[
            "truth"
        ]


@pytest.mark.parametrize("started", ORDERS)
def test_the_newest_is_taken(tmp_path: Path, started: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(tmp_path, started)
    monkeypatch.setattr(steps, "status", lambda pipeline, folder: [])
    found = steps.Steps(work.project)
    assert found.last_audit(work.labels) == work.audits[work.newest]
    assert found._input(work.labels, work.label, "data") == work.manifests[work.newest]
    assert work.evidence() == f"audit {work.newest + 1}"
    labels = LabelSet.__new__(LabelSet)
    labels._artefact = work.labels
    assert labels._input("data") == work.manifests[work.newest]


@pytest.mark.parametrize("started", ORDERS)
def test_the_one_that_is_up_to_date_comes_first(
    tmp_path: Path, started: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(tmp_path, started)
    old = 1 - work.newest
    made = {"audit": work.audits[old], "manifest": work.manifests[old]}
    fresh = [SimpleNamespace(name=name, state="fresh", path=one.path) for name, one in made.items()]
    monkeypatch.setattr(steps, "status", lambda pipeline, folder: fresh)
    found = steps.Steps(work.project)
    assert found.last_audit(work.labels) == work.audits[old]
    assert found._input(work.labels, work.label, "data") == work.manifests[old]


def test_an_audit_that_was_set_aside_is_no_evidence(tmp_path: Path) -> None:
    work = Work(tmp_path, (1.0, 2.0))
    newest = work.audits[1].path
    newest.rename(newest.with_name(f"{newest.name}.corrupt-1"))
    assert work.evidence() == "audit 1"
