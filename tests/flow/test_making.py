"""The facts that a stage gets from a runner, its record of a step, and steps that other processes make."""

from __future__ import annotations

import platform
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import autolabel
from autolabel.config.schema import InferConfig, LabelConfig, RuntimeConfig
from autolabel.errors import AutolabelError, ConfigError, CorruptArtefact, SettingError
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.keys import input_identities, key_document, stage_key
from autolabel.flow.runner import Launcher, Runner
from autolabel.flow.stage import Context, PreflightContext, Stage, StageResult
from autolabel.hardware import usable_cores
from autolabel.signals import StopFlag, Stopped
from autolabel.store import Artefact, input_digests, open_draft
from tests.flow.small import EXPERIMENT, FILTER, NUMBERS, build, filter_numbers, run, runner


def two_steps(stage: Stage, **settings: Any) -> Pipeline:
    """Numbers, and a step "two" of this stage that reads them."""
    p = Pipeline()
    numbers = p.add("numbers", NUMBERS, InferConfig(chunk=8))
    p.add("two", stage, LabelConfig(threshold=0.5, **settings), seed=3, numbers=numbers)
    return p


def test_a_stage_gets_all_facts_of_its_step(tmp_path: Path) -> None:
    seen: list[Context] = []

    def look(context: Context) -> StageResult:
        seen.append(context)
        return filter_numbers(context)

    p = two_steps(replace(FILTER, run=look))
    machine = Runner(EXPERIMENT, tmp_path, RuntimeConfig(threads=2), StopFlag(), print, quiet=True)
    done = {item.node.name: item.artefact for item in machine.run(p, list(p.nodes.values()))}
    (context,), node = seen, p.nodes["two"]
    assert (context.node, context.seed, context.settings) == ("two", 3, node.settings)
    assert (context.experiment, context.runtime, context.stop) == (EXPERIMENT, machine.runtime, machine.stop)
    assert (context.quiet, context.world.size) == (True, 1)
    assert {name: source.name for name, source in context.sources.items()} == {"numbers": "numbers"}
    assert context.inputs["numbers"].digest == done["numbers"].digest
    assert context.identity["threshold"] == context.document["settings"]["threshold"] == 0.5
    assert context.files is machine._files, "the digests that the key was made with"


def test_the_record_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(context: Context) -> StageResult:
        context.draft.write("a.txt", b"a")
        return StageResult(meta={"answer": 42}, provenance={"remark": "slow"}, bad_items=2)

    p = two_steps(replace(FILTER, run=make))
    clock = iter((10.0, 11.0, 100.0, 104.0))
    monkeypatch.setattr("autolabel.flow.runner.time", SimpleNamespace(time=lambda: next(clock)))
    machine, said = runner(tmp_path)
    (_, done) = machine.run(p, list(p.nodes.values()))
    found = done.artefact.provenance
    document = key_document(p.nodes["two"], {"numbers": machine.done["numbers"].artefact.digest})
    assert done.artefact.meta == {"answer": 42}
    assert found["key"] == document
    assert found["experiment"] == EXPERIMENT.model_dump(mode="json")
    assert (found["bad_items"], found["processes"], found["remark"]) == (2, 1, "slow")
    assert (found["started"], found["seconds"]) == (100.0, 4.0)
    assert [e["threads"] for e in found["environments"]] == [machine.runtime.threads or usable_cores()]
    assert found["autolabel"] == autolabel.__version__
    assert (found["python"], found["machine"]) == (platform.python_version(), platform.machine())
    assert found["torch"] == version("torch")
    key = stage_key(document)
    assert said[-2:] == [f"two: running ({key[:16]})", "two: done in 4 s"]


def test_a_digest_of_other_bytes_than_were_written_ends_the_step(tmp_path: Path) -> None:
    """A stage may remember what it wrote; the commit compares."""

    def make(context: Context) -> StageResult:
        context.draft.write("a.txt", b"a")
        return StageResult(meta={}, digests={"a.txt": "0" * 64})

    p = two_steps(replace(FILTER, run=make))
    with pytest.raises(CorruptArtefact, match=r"a\.txt"):
        run(tmp_path, p)


@pytest.mark.parametrize("when", ["check", "uses", "run"])
def test_a_wrong_setting_has_its_full_name_wherever_it_shows(tmp_path: Path, when: str) -> None:
    def refuse(*facts: object) -> Any:
        raise SettingError("threshold", "is wrong", "change it")

    with pytest.raises(ConfigError, match=r"^label\.threshold: is wrong; change it$"):
        run(tmp_path, two_steps(replace(FILTER, **{when: refuse})))


def test_all_steps_are_checked_once_before_the_first_one_begins(tmp_path: Path) -> None:
    asked: list[PreflightContext] = []
    p = two_steps(replace(FILTER, check=asked.append))
    p.add("three", replace(FILTER, check=asked.append), LabelConfig(), numbers=p.nodes["two"])
    machine, _ = runner(tmp_path)
    machine.run(p, list(p.nodes.values()))
    assert [context.settings for context in asked] == [p.nodes["two"].settings, p.nodes["three"].settings]
    assert asked[0].inputs == {"numbers": p.nodes["numbers"].settings}
    assert asked[0].runtime == EXPERIMENT.runtime
    assert (asked[0].num_processes, len(asked[0].data.images)) == (1, machine._planned.all.images)  # type: ignore[union-attr]
    run(tmp_path, p)
    assert len(asked) == 2, "nothing is made, so nothing is checked"


def test_what_is_reused_is_said_to_the_curious_alone(tmp_path: Path) -> None:
    first, _ = run(tmp_path, build())
    notes: list[str] = []
    said: list[str] = []
    machine = Runner(EXPERIMENT, tmp_path, RuntimeConfig(), StopFlag(), said.append, notes.append)
    machine.run(build(), list(build().nodes.values()))
    assert said == []
    names = {name: item.artefact.path.name for name, item in machine.done.items()}
    assert notes == [f"{name}: up to date ({names[name]})" for name in ("numbers", "high", "sum")]
    assert {name: item.artefact.digest for name, item in machine.done.items()} == first


def test_a_step_that_is_made_again_says_why(tmp_path: Path) -> None:
    run(tmp_path, build())
    machine, said = runner(tmp_path)
    machine.run(build(threshold=0.7), list(build(threshold=0.7).nodes.values()))
    assert "high: high.threshold: 0.5 -> 0.7" in said


def test_damage_is_said_with_the_name_of_what_is_kept(tmp_path: Path) -> None:
    run(tmp_path, build())
    for name in ("3.txt", "4.txt"):
        next((tmp_path / "artefacts" / "numbers").glob(f"*/data/{name}")).unlink()
    machine, said = runner(tmp_path)
    machine.run(build(), list(build().nodes.values()))
    (kept,) = (tmp_path / "artefacts" / "numbers").glob("*.corrupt-1")
    (line,) = [line for line in said if "damaged" in line]
    assert line.startswith("numbers: damaged, data/3.txt")
    assert line.endswith(f" (and 1 more); kept as {kept.name}, making it again")


def test_an_input_that_is_damaged_again_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that loses bytes as fast as they are written."""
    run(tmp_path, build())
    monkeypatch.setattr(Artefact, "verify", lambda self, full=False: ["data/3.txt: other bytes"] if full else [])
    machine, said = runner(tmp_path)
    with pytest.raises(CorruptArtefact, match=r"is damaged again: data/3\.txt: other bytes; check the disk"):
        machine.run(build(threshold=0.7), list(build(threshold=0.7).nodes.values()))
    assert len(list((tmp_path / "artefacts" / "numbers").glob("*.corrupt-1"))) == 1
    assert not (tmp_path / "artefacts" / "high" / "data").exists()
    assert any("numbers: damaged, data/3.txt: other bytes; kept as " in line for line in said)


def by_launcher(work: Path, parallel: Pipeline, launched: list[str], *, makes: Pipeline | None = None) -> Runner:
    """A runner that lets three other processes make parallel steps; here another runner makes them, of `makes`."""

    def launch(node: Node) -> None:
        launched.append(node.name)
        if makes is not None:
            runner(work)[0].run(makes, makes.select(node.name))

    runtime = RuntimeConfig()
    said: list[str] = []
    machine = Runner(EXPERIMENT, work, runtime, StopFlag(), said.append, launcher=Launcher(3, launch))
    machine.run(parallel, list(parallel.nodes.values()))
    return machine


def test_other_processes_make_the_parallel_steps_alone(tmp_path: Path) -> None:
    asked: list[PreflightContext] = []
    p = two_steps(replace(FILTER, parallel=True, check=asked.append))
    launched: list[str] = []
    machine = by_launcher(tmp_path, p, launched, makes=p)
    assert launched == ["two"]
    assert asked[0].num_processes == 3
    assert {name: step.fresh for name, step in machine.done.items()} == {"numbers": False, "two": False}
    assert machine.done["two"].artefact.names() == ["6.txt", "7.txt"]
    assert machine.done["two"].node is p.nodes["two"]
    again = by_launcher(tmp_path, p, launched)
    assert launched == ["two"], "a step that is there is not launched"
    assert again.done["two"].fresh


def test_processes_that_made_another_step_are_not_believed(tmp_path: Path) -> None:
    """The experiment was edited while they ran."""
    parallel = replace(FILTER, parallel=True)
    other = Pipeline()
    other.add("two", parallel, LabelConfig(threshold=0.7), numbers=other.add("numbers", NUMBERS, InferConfig(chunk=8)))
    says = "two: its processes ended well and made something else; run again, and leave experiment and data alone while"
    with pytest.raises(AutolabelError) as error:
        by_launcher(tmp_path, two_steps(parallel), [], makes=other)
    assert str(error.value).startswith(says)


def test_a_step_goes_on_in_the_draft_of_its_key(tmp_path: Path) -> None:
    p = two_steps(FILTER)
    numbers = run(tmp_path, build(count=8))[0]["numbers"]
    key = stage_key(key_document(p.nodes["two"], {"numbers": numbers}))
    draft = open_draft(tmp_path / "artefacts" / "two", key)
    draft.write("old.txt", b"1")
    assert draft.path.is_dir()
    machine, _ = runner(tmp_path)
    machine.run(p, list(p.nodes.values()))
    assert not draft.path.exists()


def test_the_artefact_of_a_step_is_found_without_making_anything(tmp_path: Path) -> None:
    p = build()
    assert runner(tmp_path)[0].current(p.nodes["sum"]) is None
    first, _ = run(tmp_path, p)
    machine, _ = runner(tmp_path)
    found = machine.current(p.nodes["sum"])
    assert found is not None
    assert found.digest == first["sum"]
    assert machine.done == {}
    other = build(threshold=0.3)
    fresh, _ = runner(tmp_path)
    assert (fresh.current(other.nodes["sum"]), fresh.current(other.nodes["high"])) == (None, None)
    assert fresh.current(other.nodes["numbers"]).digest == first["numbers"]  # type: ignore[union-attr]
    assert sorted(path.name for path in (tmp_path / "artefacts").iterdir()) == ["high", "numbers", "sum"]


def test_an_identity_is_the_digest_of_each_input(tmp_path: Path) -> None:
    p = build()
    first, _ = run(tmp_path, p)
    inputs = {name: runner(tmp_path)[0].current(source) for name, source in p.nodes["sum"].inputs.items()}
    assert input_identities(p.nodes["sum"], inputs) == {  # type: ignore[arg-type]
        "parts.all": first["numbers"],
        "parts.high": first["high"],
    }


class Reader:
    """A step whose key is made of three files; it is made in another folder each time, so its key is made again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in "abc":
            (folder / name).write_text(name)
        self.pipeline = Pipeline()
        stage = replace(NUMBERS, key_settings=lambda settings, files: dict(files.of_files(folder, "abc")))
        self.pipeline.add("numbers", stage, InferConfig(chunk=1))

    def run(self, **options: Any) -> Runner:
        machine = Runner(EXPERIMENT, self.folder / "work", RuntimeConfig(jobs=1), StopFlag(), print, **options)
        machine.run(self.pipeline, list(self.pipeline.nodes.values()))
        return machine


def test_input_files_are_read_once_and_their_progress_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now, hashed, reads = time.time_ns, input_digests._hashed, []
    monkeypatch.setattr(input_digests.time, "time_ns", lambda: now() + 60_000_000_000)  # the files are at rest
    monkeypatch.setattr(input_digests, "_hashed", lambda path: reads.append(path) or hashed(path))
    reader = Reader(tmp_path)
    reader.run()
    assert "hashing inputs: 3/3 file (100 %)" in capsys.readouterr().err
    reader.run()
    assert (len(reads), capsys.readouterr().err) == (3, "")
    reader.run(rehash=True, quiet=True)
    assert (len(reads), capsys.readouterr().err) == (6, "")
    assert (tmp_path / "work" / "input-digests.json").is_file()


def test_a_stop_comes_between_two_input_files_and_keeps_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, hashed, reads = time.time_ns, input_digests._hashed, []
    reader, flag = Reader(tmp_path), StopFlag()

    def stop_at_the_first(path: str) -> object:
        reads.append(path)
        flag.signum = 15
        return hashed(path)

    monkeypatch.setattr(input_digests.time, "time_ns", lambda: now() + 60_000_000_000)
    monkeypatch.setattr(input_digests, "_hashed", stop_at_the_first)
    machine = Runner(EXPERIMENT, tmp_path / "work", RuntimeConfig(jobs=1), flag, print, quiet=True)
    with pytest.raises(Stopped):
        machine.run(reader.pipeline, list(reader.pipeline.nodes.values()))
    assert b'"a":' in (tmp_path / "work" / "input-digests.json").read_bytes()
