"""A step that was begun under another environment: it asks, goes on, or starts over, and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from autolabel.config.schema import InferConfig, RuntimeConfig
from autolabel.errors import ConfigError
from autolabel.flow.environment import Uses
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.keys import key_document
from autolabel.flow.runner import Runner
from autolabel.flow.stage import Context, Stage, StageResult
from autolabel.signals import StopFlag
from autolabel.store.draft import drafts
from tests.flow.small import EXPERIMENT

FIRST, OTHER = RuntimeConfig(threads=1), RuntimeConfig(threads=2)
CHANGE = "threads 1 -> 2"


class Power(Exception):
    """The machine went off."""


def pipeline(run: Callable[[Context], StageResult], *depends_on: str) -> Pipeline:
    p = Pipeline()
    stage = Stage(name="n", version=1, output="n", inputs={}, run=run, depends_on=frozenset(depends_on))
    p.add("step", stage, InferConfig())
    return p


def fail(context: Context) -> StageResult:
    context.draft.journal("items").append([{"by": "first"}])
    raise Power


def fail_at_once(context: Context) -> StageResult:
    raise Power


def finish(context: Context) -> StageResult:
    """Its result says which items it found."""
    return StageResult(meta={"found": [row["by"] for row in context.draft.journal("items").rows]})


def run(work: Path, p: Pipeline, runtime: RuntimeConfig, **options: bool) -> tuple[Runner, list[str]]:
    said: list[str] = []
    machine = Runner(EXPERIMENT, work, runtime, StopFlag(), said.append, **options)
    machine.run(p, list(p.nodes.values()))
    return machine, said


def begin(work: Path, how: Callable[[Context], StageResult] = fail) -> None:
    with pytest.raises(Power):
        run(work, pipeline(how, "threads"), FIRST)


def threads(machine: Runner) -> list[int]:
    return [environment["threads"] for environment in machine.done["step"].artefact.provenance["environments"]]


def test_it_asks_where_the_result_depends_on_the_change(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(ConfigError) as error:
        run(tmp_path, pipeline(finish, "threads"), OTHER)
    assert str(error.value) == (
        f"step: was begun under another environment ({CHANGE}), on which its result depends; run it as before, start "
        "it over with --restart-other-environment, or mix both with --allow-other-environment"
    )
    machine, said = run(tmp_path, pipeline(finish, "threads"), FIRST)
    assert machine.done["step"].artefact.meta == {"found": ["first"]}, "as before, it goes on"
    assert threads(machine) == [1]
    assert not any("environment" in line for line in said)


def test_it_goes_on_where_the_user_allows_it(tmp_path: Path) -> None:
    begin(tmp_path)
    machine, said = run(tmp_path, pipeline(finish, "threads"), OTHER, allow_other_environment=True)
    assert f"step: goes on under another environment: {CHANGE}" in said
    assert machine.done["step"].artefact.meta == {"found": ["first"]}
    assert threads(machine) == [1, 2]


def test_it_starts_over_where_the_user_wants_it(tmp_path: Path) -> None:
    begin(tmp_path)
    machine, said = run(tmp_path, pipeline(finish, "threads"), OTHER, restart_other_environment=True)
    assert "step: was begun under another environment; starts over" in said
    assert machine.done["step"].artefact.meta == {"found": []}
    assert threads(machine) == [2]


def test_it_goes_on_where_the_result_does_not_depend_on_the_change(tmp_path: Path) -> None:
    with pytest.raises(Power):
        run(tmp_path, pipeline(fail, "versions"), FIRST)
    for restart in (True, False):  # nothing needs to be started over
        with pytest.raises(Power):
            run(tmp_path, pipeline(fail_at_once, "versions"), OTHER, restart_other_environment=restart)
    machine, said = run(tmp_path, pipeline(finish, "versions"), FIRST)
    assert "step: goes on under another environment: threads 2 -> 1" in said
    assert machine.done["step"].artefact.meta == {"found": ["first"]}
    assert threads(machine) == [1, 2, 1], "each change once"


def test_a_step_without_a_single_item_starts_under_the_new_one(tmp_path: Path) -> None:
    begin(tmp_path, fail_at_once)
    machine, said = run(tmp_path, pipeline(finish, "threads"), OTHER)
    assert threads(machine) == [2]
    assert not any("environment" in line for line in said)


@pytest.mark.parametrize("then", [{}, {"allow_other_environment": True}, {"restart_other_environment": True}])
def test_a_draft_states_what_it_is_a_draft_of(tmp_path: Path, then: dict[str, bool]) -> None:
    """`infer` takes codes over from drafts with other settings: it must know which."""
    begin(tmp_path)
    if then:
        with pytest.raises(Power):
            run(tmp_path, pipeline(fail, "threads"), OTHER, **then)
    (draft,) = drafts(tmp_path / "artefacts" / "step")
    assert draft.document == key_document(pipeline(fail).nodes["step"], {})
    wanted = {"allow_other_environment": [1, 2], "restart_other_environment": [2]}.get("".join(then), [1])
    assert [environment["threads"] for environment in draft.environments] == wanted


def test_a_step_states_what_it_uses_beyond_the_others(tmp_path: Path) -> None:
    asked: list[object] = []

    def uses(*facts: object) -> Uses:
        asked.extend(facts)
        return Uses(packages=("click",), more={"precision": "bf16"})

    p = pipeline(finish, "versions")
    p.nodes["step"] = Node("step", replace(p.nodes["step"].stage, uses=uses), p.nodes["step"].settings, 0, {})
    machine, _ = run(tmp_path, p, OTHER)
    (environment,) = machine.done["step"].artefact.provenance["environments"]
    assert (environment["precision"], environment["versions"]["click"]) == ("bf16", version("click"))
    assert asked == [p.nodes["step"].settings, {}, OTHER]


def test_a_damaged_record_is_kept_and_said(tmp_path: Path) -> None:
    begin(tmp_path)
    (record,) = (tmp_path / "artefacts" / "step").glob("*/DRAFT")
    record.write_bytes(b"nonsense")
    machine, said = run(tmp_path, pipeline(finish, "threads"), OTHER)
    (kept,) = (tmp_path / "artefacts" / "step").glob("*.corrupt-1")
    assert f"step: its unfinished work has a damaged record; starts over (kept: {kept.name})" in said
    assert machine.done["step"].artefact.meta == {"found": []}


@pytest.mark.parametrize("is_started", [False, True])
def test_a_lost_lock_ends_the_step_before_it_writes(tmp_path: Path, is_started: bool) -> None:
    """Another run may be writing there by now; the draft asks again, also one that was started over."""

    class Lost(Exception):
        pass

    is_lost: list[bool] = []

    def check() -> None:
        if is_lost:
            raise Lost

    def write(context: Context) -> StageResult:
        is_lost.append(True)
        context.draft.write_many([("a.txt", b"a")])
        return StageResult(meta={})

    if is_started:
        begin(tmp_path)
    p = pipeline(write, "threads")
    machine = Runner(EXPERIMENT, tmp_path, OTHER, StopFlag(), print, check_lock=check, restart_other_environment=True)
    with pytest.raises(Lost):
        machine.run(p, list(p.nodes.values()))
    assert not list(tmp_path.rglob("a.txt"))
    with pytest.raises(Lost):
        machine.run(p, list(p.nodes.values()))
    assert len(is_lost) == 1, "the step does not even begin"
