from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from autolabel.config.base import Config
from autolabel.config.networks import TeacherConfig
from autolabel.config.schema import LabelConfig
from autolabel.data.sources.registry import plan
from autolabel.errors import ConfigError, DataError
from autolabel.flow.environment import changes
from autolabel.flow.graph import Pipeline
from autolabel.flow.stage import Context, PreflightContext, Stage, StageResult
from autolabel.flow.status import status, unreferenced
from autolabel.signals import Stopped
from autolabel.store import scan
from tests.flow.small import EXPERIMENT, FILTER, build, run, runner


def states(work: Path, pipeline: object) -> dict[str, str]:
    return {step.name: step.state for step in status(pipeline, work)}  # type: ignore[arg-type]


def test_a_second_run_does_no_work(tmp_path: Path) -> None:
    first, made = run(tmp_path, build())
    assert made == {"numbers", "high", "sum"}
    assert run(tmp_path, build()) == (first, set())
    assert set(states(tmp_path, build()).values()) == {"fresh"}


def test_a_changed_setting_reruns_its_step_and_what_follows(tmp_path: Path) -> None:
    first, _ = run(tmp_path, build())
    second, made = run(tmp_path, build(threshold=0.7))
    assert made == {"high", "sum"}
    assert second["high"] != first["high"]
    back, made = run(tmp_path, build())
    assert (back, made) == (first, set()), "changing back finds the earlier artefacts"


def test_the_same_bytes_keep_what_follows_fresh(tmp_path: Path) -> None:
    run(tmp_path, build(threshold=0.51))
    _, made = run(tmp_path, build(threshold=0.52))
    assert made == {"high"}, "the same numbers pass, so their sum need not be made again"


def test_status_names_the_key_that_differs(tmp_path: Path) -> None:
    run(tmp_path, build())
    steps = {step.name: step for step in status(build(threshold=0.7), tmp_path)}
    assert steps["high"].state == "stale"
    assert steps["high"].why == ("high.threshold: 0.5 -> 0.7",)
    assert steps["sum"].state == "waiting"


def test_a_damaged_input_is_kept_aside_and_made_again(tmp_path: Path) -> None:
    first, _ = run(tmp_path, build())
    victim = next((tmp_path / "artefacts" / "numbers").glob("*/data/3.txt"))
    victim.write_bytes(b"4")  # the same size: only a full check sees it
    second, made = run(tmp_path, build(threshold=0.7))
    assert "numbers" in made
    assert second["numbers"] == first["numbers"]
    assert list((tmp_path / "artefacts" / "numbers").glob("*.corrupt-1"))


def test_an_input_made_again_with_earlier_bytes_finds_the_earlier_artefact(tmp_path: Path) -> None:
    """A GPU may give other bytes each time; here every second time."""
    turns = iter("121")

    def write_turn(ctx: Context) -> StageResult:
        ctx.draft.write(f"{next(turns)}.txt", b"")
        return StageResult(meta={})

    def damage() -> None:
        file = next((tmp_path / "artefacts" / "noise").glob(f"{'?' * 16}/provenance.json"))
        file.write_bytes(bytes(file.stat().st_size))

    def both(threshold: float) -> set[str]:
        p = Pipeline()
        noise = p.add("noise", Stage(name="noise", version=1, output="numbers", inputs={}, run=write_turn), Config())
        p.add("high", FILTER, LabelConfig(threshold=threshold), numbers=noise)
        return run(tmp_path, p)[1]

    assert both(0.1) == {"noise", "high"}
    damage()
    assert both(0.2) == {"noise", "high"}
    damage()
    assert both(0.1) == {"noise"}, "the filtered numbers of the first turn are still there"


def test_damage_seen_by_the_quick_check_is_repaired(tmp_path: Path) -> None:
    first, _ = run(tmp_path, build())
    next((tmp_path / "artefacts" / "high").glob("*/data/7.txt")).unlink()
    assert states(tmp_path, build())["high"] == "corrupt"
    assert run(tmp_path, build()) == (first, {"high"})
    (next((tmp_path / "artefacts" / "sum").glob("*/COMMIT"))).write_bytes(b"nonsense")
    assert states(tmp_path, build())["sum"] == "corrupt"
    (damaged,) = [step for step in status(build(), tmp_path) if step.name == "sum"]
    assert "is not a commit record" in "".join(damaged.why)
    assert run(tmp_path, build()) == (first, {"sum"})


def test_touch_and_copies_do_not_matter(tmp_path: Path) -> None:
    first, _ = run(tmp_path / "a", build())
    for file in (tmp_path / "a").rglob("*"):
        os.utime(file, (0, 2_000_000_000))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert run(tmp_path / "a", build()) == (first, set())
    assert run(tmp_path / "b", build()) == (first, set())


def test_one_stage_alone_wants_its_inputs(tmp_path: Path) -> None:
    machine, _ = runner(tmp_path)
    with pytest.raises(ConfigError, match="its input 'numbers' is not up to date; run `autolabel run"):
        machine.run_only(build().select("high"))
    run(tmp_path, build())
    machine, _ = runner(tmp_path)
    (done,) = machine.run_only(build(threshold=0.7).select("filter"))
    assert not done.fresh


def test_a_stop_ends_between_steps(tmp_path: Path) -> None:
    machine, _ = runner(tmp_path)
    machine.stop.signum = 15
    with pytest.raises(Stopped):
        machine.run(build(), list(build().nodes.values()))
    assert set(states(tmp_path, build()).values()) == {"missing", "waiting"}


def test_gc_names_what_the_experiment_no_longer_uses(tmp_path: Path) -> None:
    run(tmp_path, build(threshold=0.7))
    assert unreferenced(build(threshold=0.7), tmp_path) == []
    run(tmp_path, build())
    gone = {(item.node, item.kind) for item in unreferenced(build(), tmp_path)}
    assert gone == {("high", "committed"), ("sum", "committed")}
    # A step still to be done keeps what it has: the settings may be changed back.
    assert unreferenced(build(threshold=0.3), tmp_path) == []


@pytest.mark.parametrize("way", ["x/../work", "link"])
def test_gc_keeps_weights_that_are_named_by_another_way(tmp_path: Path, way: str) -> None:
    work = tmp_path / "work"
    run(work, build(threshold=0.7))
    (old,) = (item.path for item in scan(work / "artefacts") if item.node == "high")
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to(work)

    def pipeline(weights: Path | None) -> Pipeline:
        p = build()
        none = Stage(name="none", version=1, output="weights", inputs={}, run=lambda ctx: StageResult(meta={}))
        p.add("none", none, TeacherConfig(weights=weights))
        return p

    run(work, pipeline(None))
    assert old in {item.path for item in unreferenced(pipeline(None), work)}
    weights = tmp_path / way / old.relative_to(work) / "data/weights.safetensors"
    assert old not in {item.path for item in unreferenced(pipeline(weights), work)}
    direct = old / "data/weights.safetensors"
    for folder in (tmp_path / "x/../work", tmp_path / "link"):
        assert old.name not in {item.path.name for item in unreferenced(pipeline(direct), folder)}


def test_what_was_quarantined_is_tried_again_and_the_earlier_artefact_stays(tmp_path: Path) -> None:
    readable = False

    def make(ctx: Context) -> StageResult:
        return StageResult(meta={"readable": readable}, bad_items=0 if readable else 1)

    def can_retry(*facts: object) -> bool:
        return readable

    p = Pipeline()
    p.add("n", Stage(name="n", version=1, output="n", inputs={}, run=make, can_retry=can_retry), LabelConfig())
    first, _ = run(tmp_path, p)
    assert run(tmp_path, p) == (first, set()), "it cannot be read yet"
    readable = True
    machine, said = runner(tmp_path)
    (step,) = machine.run(p, list(p.nodes.values()))
    assert (step.fresh, step.artefact.meta) == (False, {"readable": True})
    (earlier,) = (tmp_path / "artefacts" / "n").glob("*.corrupt-*")
    assert f"n: what was quarantined can be used now; kept as {earlier.name}, making it again" in said


def test_a_change_of_environment_is_said_by_field() -> None:
    before = {"versions": {"torch": "1", "numpy": "2"}, "threads": 2, "device": "cpu", "odd": {"a": 1}}
    now = {"versions": {"torch": "3", "numpy": "2"}, "threads": 4, "device": "cpu", "odd": {"a": 2}}
    said = ["odd {'a': 1} -> {'a': 2}", "threads 2 -> 4", "torch 1 -> 3"]
    assert changes(before, now, ["versions", "threads", "device", "odd", "unknown"]) == said
    assert changes(before, before, before) == []
    assert changes({}, now, now) == []


@pytest.mark.parametrize(
    ("split", "roles", "found"),
    [
        ("val", ("fine",), True),
        ("val", ("coarse",), False),
        ("train", ("coarse", "x"), True),
        ("test", ("fine",), False),
    ],
)
def test_a_missing_label_is_said_before_anything_runs(split: str, roles: tuple[str, ...], found: bool) -> None:
    ahead = PreflightContext(LabelConfig(), {}, plan(EXPERIMENT.data))
    with nullcontext() if found else pytest.raises(DataError, match=f"no {split} image has a label of .*do this"):
        ahead.require_labels(split, roles, "do this")
