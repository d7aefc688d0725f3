"""Drafts of an earlier run that are not as that run would have liked them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from autolabel.config.load import load_experiment
from autolabel.flow.graph import load_pipeline
from autolabel.flow.keys import input_identities, key_document, stage_key
from autolabel.store import Artefact, Draft, find, open_draft
from tests.stages.tiny_pipeline import Tiny, call

pytestmark = [pytest.mark.xdist_group("tiny"), pytest.mark.slow]


@pytest.fixture
def work(tiny: Tiny, tmp_path: Path) -> Path:
    """A work folder with manifest and teacher, nothing else."""
    for step in ("manifest", "teacher"):
        shutil.copytree(tiny.work / "artefacts" / step, tmp_path / "artefacts" / step)
    return tmp_path


def infer_draft(tiny: Tiny, work: Path) -> Draft:
    node = load_pipeline(load_experiment(tiny.file)).nodes["infer"]
    made = {name: Path(tiny.states()[source.name]["path"]) for name, source in node.inputs.items()}
    inputs = {name: Artefact.open(path) for name, path in made.items()}
    key = stage_key(key_document(node, input_identities(node, inputs)))
    assert find(made["model"].parents[1] / "infer", key) is not None, "the key is that of the whole run"
    return open_draft(work / "artefacts" / "infer", key)


def infer(tiny: Tiny, work: Path) -> tuple[int, str]:
    result = call("infer", tiny.file, "--work", work, "-q")
    return result.exit_code, result.stderr


def test_what_was_bad_is_tried_again(tiny: Tiny, work: Path) -> None:
    """A run ended because of bad images, in journals of several ranks; by now they have been repaired."""
    bad = [{"id": "x", "path": "x", "reason": "x: broken"}]
    draft = infer_draft(tiny, work)
    for journal, name in (("shards", "codes-00000.h5"), ("shards-00001", "val-00000.h5")):
        row = {"name": name, "split": "x", "ids": [], "bytes": 0, "sha256": "0" * 64, "bad": bad, "try": 3}
        draft.journal(journal).append([row])
    assert infer(tiny, work) == (0, "")
    (artefact,) = (work / "artefacts" / "infer").iterdir()
    assert Artefact.open(artefact).digest == tiny.states()["infer"]["digest"]


ROW = {
    "name": "codes-00000.h5",
    "split": "train",
    "ids": ["x"],
    "inputs": ["0"],
    "computed": 1,
    "bytes": 9,
    "sha256": "0" * 64,
    "bad": [],
}


@pytest.mark.parametrize("left", [None, b"cut"])
def test_a_shard_that_was_done_and_is_gone_or_cut_is_made_again(tiny: Tiny, work: Path, left: bytes | None) -> None:
    draft = infer_draft(tiny, work)
    draft.journal("shards").append([ROW])
    if left is not None:
        draft.write(ROW["name"], left)
    assert infer(tiny, work) == (0, "")
    (artefact,) = (work / "artefacts" / "infer").iterdir()
    assert Artefact.open(artefact).digest == tiny.states()["infer"]["digest"]


def test_a_shard_that_was_done_and_has_changed_sets_the_draft_aside(tiny: Tiny, work: Path) -> None:
    draft = infer_draft(tiny, work)
    draft.write(ROW["name"], b"9 letters")
    draft.journal("shards").append([ROW])
    code, said = infer(tiny, work)
    assert (code, "the first 'codes-00000.h5'" in said) == (1, True)
    assert infer(tiny, work)[0] == 0
    (artefact,) = (work / "artefacts" / "infer").glob("?" * 16)
    assert artefact.name == Path(tiny.states()["infer"]["path"]).name
