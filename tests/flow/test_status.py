"""The state of every step, whole, and the items that gc may delete."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from autolabel.config.base import Config
from autolabel.config.networks import TeacherConfig
from autolabel.config.schema import InferConfig
from autolabel.data.parts import PartChange
from autolabel.errors import DataError
from autolabel.flow.graph import Pipeline
from autolabel.flow.keys import key_document, stage_key
from autolabel.flow.stage import Context, StageResult
from autolabel.flow.status import StepStatus, status, unreferenced
from autolabel.store import InputDigests, delete, input_digests, open_draft, set_aside
from tests.flow.small import NUMBERS, build, idle_stage, run, runner


def step(name: str, p: Pipeline, work: Path) -> StepStatus:
    return next(found for found in status(p, work) if found.name == name)


def test_before_anything_is_made(tmp_path: Path) -> None:
    assert status(build(), tmp_path) == [
        StepStatus("numbers", "numbers", "missing", None, ("never made",), None),
        StepStatus("high", "filter", "waiting", None, ("waits for numbers",), None),
        StepStatus("sum", "sum", "waiting", None, ("waits for numbers, high",), None),
    ]


def test_an_input_that_is_read_twice_is_waited_for_once(tmp_path: Path) -> None:
    p = Pipeline()
    numbers = p.add("numbers", NUMBERS, InferConfig())
    p.add("both", idle_stage("both", "both", a="numbers", b="numbers"), Config(), a=numbers, b=numbers)
    assert step("both", p, tmp_path).why == ("waits for numbers",)


def test_a_step_that_is_done_has_its_path_and_digest(tmp_path: Path) -> None:
    machine, _ = runner(tmp_path)
    done = machine.run(build(), list(build().nodes.values()))
    assert status(build(), tmp_path) == [
        StepStatus(item.node.name, item.node.stage.name, "fresh", item.artefact.path, (), item.artefact.digest)
        for item in done
    ]


def test_items_in_quarantine_are_counted(tmp_path: Path) -> None:
    def make(context: Context) -> StageResult:
        return StageResult(meta={}, bad_items=3)

    p = Pipeline()
    p.add("picky", replace(NUMBERS, run=make), InferConfig())
    run(tmp_path, p)
    assert step("picky", p, tmp_path).bad_items == 3


def test_a_step_that_was_started(tmp_path: Path) -> None:
    key = stage_key(key_document(build().nodes["numbers"], {}))
    open_draft(tmp_path / "artefacts" / "numbers", key).write("0.txt", b"0")
    found = step("numbers", build(), tmp_path)
    assert (found.state, found.path, found.why) == ("partial", None, ("begun, not finished: run again to go on",))


def test_damage_is_named_file_by_file(tmp_path: Path) -> None:
    run(tmp_path, build())
    for name in ("7.txt", "8.txt"):
        next((tmp_path / "artefacts" / "high").glob(f"*/data/{name}")).unlink()
    found = step("high", build(), tmp_path)
    assert found.state == "corrupt"
    assert [line.partition(" ")[0].rstrip(":") for line in found.why] == ["data/7.txt", "data/8.txt"]
    assert found.path is not None
    assert step("sum", build(), tmp_path).state == "waiting"


def test_data_that_is_gone_leaves_the_rest_to_be_told(tmp_path: Path) -> None:
    def gone(settings: object, files: object) -> dict:
        raise DataError("data/images", "is gone", "mount it")

    p = build()
    p.add("manifest", replace(NUMBERS, name="manifest", key_settings=gone), InferConfig())
    run(tmp_path, build())
    found = step("manifest", p, tmp_path)
    assert (found.state, found.why) == ("missing", ("data/images: is gone; mount it",))
    assert step("sum", p, tmp_path).state == "fresh"


@pytest.mark.parametrize("is_certain", [True, False])
def test_changed_files_come_with_what_follows_from_them(tmp_path: Path, is_certain: bool) -> None:
    content = "0" * 64
    change = PartChange("train.fine", int(is_certain), 0, 0, unknown=1)
    manifest = replace(
        idle_stage("manifest", "manifest"),
        run=NUMBERS.run,
        key_settings=lambda settings, files: {"content": content},
        input_changes=lambda settings, files, made: [change],
    )
    p = Pipeline()
    data = p.add("manifest", manifest, InferConfig(chunk=2))
    p.add("teacher", idle_stage("teacher", "weights", data="manifest"), Config(), data=data)
    runner(tmp_path)[0].run(p, [data])
    content = "1" * 64
    follows = "these run again: teacher" if is_certain else "these may run again: teacher"
    assert step("manifest", p, tmp_path).why == (str(change), follows)


def test_files_of_a_step_that_was_never_made_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be a whole data set, and their digests would tell nothing. Later a run has read them, once for all."""
    now, hashed, reads = time.time_ns, input_digests._hashed, []
    monkeypatch.setattr(input_digests.time, "time_ns", lambda: now() + 60_000_000_000)  # the file is at rest
    monkeypatch.setattr(input_digests, "_hashed", lambda path: reads.append(path) or hashed(path))
    (tmp_path / "a.bin").write_bytes(b"a")
    seen: list[object] = []

    def key_settings(settings: object, files: InputDigests) -> dict:
        seen.append(files.of_files(tmp_path, ["a.bin"])["a.bin"])
        return {}

    p = Pipeline()
    p.add("manifest", replace(NUMBERS, key_settings=key_settings), InferConfig(chunk=1))
    status(p, tmp_path / "work")
    run(tmp_path / "work", p)
    status(p, tmp_path / "work")
    assert len(reads) == 1
    never, *later = seen
    assert never != later[0]
    assert {*later} == {"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}


def test_gc_takes_what_was_set_aside_and_steps_of_other_pipelines(tmp_path: Path) -> None:
    run(tmp_path, build())
    numbers = next((tmp_path / "artefacts" / "numbers").iterdir())
    aside = set_aside(numbers)
    run(tmp_path, build())
    assert [item.path for item in unreferenced(build(), tmp_path)] == [aside], "damaged items are of no use"
    other = Pipeline()
    other.add("numbers", NUMBERS, InferConfig(chunk=10))
    gone = {(item.node, item.kind) for item in unreferenced(other, tmp_path)}
    assert gone == {("numbers", "corrupt"), ("high", "committed"), ("sum", "committed")}
    delete(aside)
    key = stage_key(key_document(build(count=4).nodes["numbers"], {}))
    unfinished = open_draft(tmp_path / "artefacts" / "numbers", key)
    unfinished.write("0.txt", b"0")
    assert [item.path for item in unreferenced(build(), tmp_path)] == [unfinished.path], "begun with other settings"
    assert unreferenced(build(count=5), tmp_path) == [], "a step still to be done keeps its drafts"


def test_gc_keeps_what_any_setting_names(tmp_path: Path) -> None:
    """Paths may lie deep in the settings."""

    class Deep(Config):
        first: TeacherConfig
        by_name: dict[str, Path]

    run(tmp_path, build(threshold=0.7))
    run(tmp_path, build())
    old = {item.node: item.path for item in unreferenced(build(), tmp_path)}
    p = build()
    settings = Deep(first=TeacherConfig(weights=old["high"] / "data/a.safetensors"), by_name={"a": old["sum"] / "data"})
    p.add("deep", replace(NUMBERS, name="deep", run=lambda ctx: StageResult(meta={})), settings)
    assert unreferenced(p, tmp_path) == []
