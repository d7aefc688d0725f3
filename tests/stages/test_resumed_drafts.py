"""Drafts of an earlier run that are not as that run would have liked them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_pipeline import Tiny, call

from autolabel.experiment import load_experiment
from autolabel.flow.keys import key_document, stage_key
from autolabel.flow.load import load_pipeline
from autolabel.store import Draft, find, open_draft

pytestmark = pytest.mark.xdist_group("tiny")


@pytest.fixture
def work(tiny: Tiny, tmp_path: Path) -> Path:
    """A work folder with manifest and teacher, nothing else."""
    for step in ("manifest", "teacher"):
        shutil.copytree(tiny.work / "artefacts" / step, tmp_path / "artefacts" / step)
    return tmp_path


def infer_draft(tiny: Tiny, work: Path) -> Draft:
    node = load_pipeline(load_experiment(tiny.file)).nodes["infer"]
    made = {name: Path(tiny.states()[source.name]["path"]) for name, source in node.inputs.items()}
    digests = {name: tiny.states()[source.name]["digest"] for name, source in node.inputs.items()}
    key = stage_key(key_document(node, digests))
    assert find(made["model"].parents[1] / "infer", key) is not None, "the key is that of the whole run"
    return open_draft(work / "artefacts" / "infer", key)


def infer(tiny: Tiny, work: Path) -> tuple[int, str]:
    result = call("infer", tiny.file, "--work", work, "-q")
    return result.exit_code, result.stderr


def test_too_many_bad_images_stay_too_many(tiny: Tiny, work: Path) -> None:
    """A run that ended at the last chunk because of a bad image must not pass the second time."""
    rows = [
        {"name": name, "split": name[:5], "ids": [], "sha256": "0" * 64, "bad": [{"id": "x", "reason": "x: broken"}]}
        for name in ("codes-00000.h5", "codes-00001.h5", "codes-00002.h5", "val-00000.h5", "val-00001.h5")
    ]
    infer_draft(tiny, work).journal("shards").append(rows)
    code, said = infer(tiny, work)
    assert (code, "data.max_bad allows 0; first: x: broken" in said) == (3, True)
    assert not list((work / "artefacts" / "infer").glob("?" * 16))


def test_bad_images_count_over_the_journals_of_all_ranks(tiny: Tiny, work: Path) -> None:
    bad = [{"id": "x", "reason": "x: broken"}]
    draft = infer_draft(tiny, work)
    for journal, name in (("shards", "codes-00000.h5"), ("shards-00001", "val-00000.h5")):
        draft.journal(journal).append([{"name": name, "split": "x", "ids": [], "sha256": "0" * 64, "bad": bad}])
    code, said = infer(tiny, work)
    assert (code, "2 images cannot be used" in said) == (3, True)


def test_a_shard_that_was_done_and_is_gone_is_made_again(tiny: Tiny, work: Path) -> None:
    draft = infer_draft(tiny, work)
    row = {"name": "codes-00000.h5", "split": "train", "ids": ["x"], "sha256": "0" * 64, "bad": []}
    draft.journal("shards").append([row])
    code, said = infer(tiny, work)
    assert (code, "the first 'codes-00000.h5'" in said) == (1, True)
    assert infer(tiny, work)[0] == 0
    (artefact,) = (work / "artefacts" / "infer").glob("?" * 16)
    assert artefact.name == Path(tiny.states()["infer"]["path"]).name
