"""Input files against the manifest that describes them: every file that differs is named, despite size and times."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from autolabel.artifacts import write_manifest
from autolabel.config.schema import Experiment, InferConfig
from autolabel.config.sources import FolderConfig
from autolabel.data.manifest import Manifest
from autolabel.flow.graph import Pipeline
from autolabel.flow.input_check import InputCheck, check_inputs
from autolabel.flow.stage import Context, StageResult
from autolabel.store import set_aside
from tests.data.manifest_rows import SYNTHETIC, image_row, label_row
from tests.flow.small import EXPERIMENT, idle_stage, run

FILES = {"images/a.png": b"a", "images/b.png": b"b", "fine/a.png": b"mask", "fine/b.png": b"other"}
MANIFEST = idle_stage("manifest", "manifest")


def content(files: dict[str, bytes]) -> Manifest:
    """Two images and their masks. The mask of b was converted: it lies in the artefact, not with the user's files."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    images = [image_row(name, sha256=digests[f"images/{name}.png"]) for name in "ab"]
    labels = [label_row("a", sha256=digests["fine/a.png"]), label_row("b", root="data")]
    return Manifest(SYNTHETIC, tuple(images), tuple(labels))


def pipeline(files: dict[str, bytes], chunk: int = 1) -> Pipeline:
    def make(context: Context) -> StageResult:
        write_manifest(context.draft, content(files))
        return StageResult(meta={})

    p = Pipeline()
    p.add("data", replace(MANIFEST, run=make), InferConfig(chunk=chunk))
    return p


class Data:
    def __init__(self, folder: Path) -> None:
        self.root, self.work = folder / "data", folder / "work"
        self.experiment = Experiment(name="x", data=FolderConfig(source="folder", root=self.root))
        for name, data in FILES.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(data)

    def check(self, p: Pipeline) -> InputCheck:
        return check_inputs(p, self.experiment, self.work)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path)


def test_files_as_the_manifest_describes_them(data: Data) -> None:
    p = pipeline(FILES)
    run(data.work, p)
    (data.root / "fine/b.png").unlink()
    assert data.check(p) == InputCheck(3, ()), "the converted mask is in the artefact"


def test_every_file_that_differs_is_named(data: Data) -> None:
    p = pipeline(FILES)
    run(data.work, p)
    (data.root / "images/b.png").write_bytes(b"c")
    (data.root / "fine/a.png").unlink()
    assert data.check(p).problems == (
        (data.root / "fine/a.png", "is missing"),
        (data.root / "images/b.png", "its bytes differ from what the manifest describes"),
    )


def test_a_file_that_cannot_be_read_is_named(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read every file, so the read fails here in the digest."""
    p = pipeline(FILES)
    run(data.work, p)
    victim = data.root / "images/a.png"

    def hashed(path: str) -> tuple[None, str | None]:
        return None, None if path == str(victim) else hashlib.sha256(Path(path).read_bytes()).hexdigest()

    monkeypatch.setattr("autolabel.store.input_digests._hashed", hashed)
    assert data.check(p).problems == ((victim, "cannot be read"),)


def test_without_a_manifest_or_input_files_there_is_nothing_to_read(data: Data) -> None:
    assert data.check(pipeline(FILES)) == InputCheck(0, ())
    run(data.work, pipeline(FILES))
    assert check_inputs(pipeline(FILES), EXPERIMENT, data.work) == InputCheck(0, ()), "rendered scenes"


def test_the_manifest_in_use_comes_before_a_newer_one(data: Data) -> None:
    """Both describe the folder; a third one, with settings of its own, is not made yet."""
    changed = {**FILES, "images/a.png": b"changed"}
    run(data.work, pipeline(FILES, 1))
    run(data.work, pipeline(changed, 2))
    assert data.check(pipeline(FILES, 1)).problems == ()
    said = "its bytes differ from what the manifest describes"
    assert data.check(pipeline(changed, 2)).problems == ((data.root / "images/a.png", said),)
    assert data.check(pipeline(FILES, 3)).problems == ((data.root / "images/a.png", said),), "the newest one"
    for artefact in (data.work / "artefacts" / "data").iterdir():
        set_aside(artefact)
    assert data.check(pipeline(FILES, 3)) == InputCheck(0, ())
