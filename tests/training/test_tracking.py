"""Every step reaches a tracker once, over kills and failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autolabel.errors import ConfigError
from autolabel.store import Draft, open_draft
from autolabel.training import trackers, tracking
from autolabel.training.trackers import Choice, TrackedRun, check_trackers
from autolabel.training.tracking import Tracking, figures_of

KEY = "ab" * 32


class Killed(BaseException):
    """Stands for a SIGKILL: nothing is sent after it."""


class Memory:
    """A tracker that keeps what it gets, over all runs of a test."""

    def __init__(self, run: TrackedRun) -> None:
        self.run, self.closed = run, False

    got: list[tuple[str, str, int]] = []  # noqa: RUF012  # of one test: the fixture replaces it
    broken_at: int | None = None

    def log(self, step: int, values: dict[str, float]) -> None:
        if step == self.broken_at:
            raise ConnectionError("no route\nto host")
        self.got.extend((self.run.id, name, step) for name in values)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> type[Memory]:
    kind = type("Kept", (Memory,), {"got": []})
    monkeypatch.setattr(tracking, "TRACKERS", {"memory": Choice(kind, "json"), "other": Choice(kind, "json")})
    return kind


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    return open_draft(tmp_path / "teacher", KEY)


def tracked(draft: Draft, *names: str) -> Tracking:
    def save(checkpoint: bytes) -> None:
        draft.state_write("checkpoint", checkpoint)

    return Tracking(
        draft, names or ("memory",), step="teacher", project="p", folder=draft.folder, settings={}, save=save
    )


def train(
    draft: Draft, *, until: int, killed: bool = False, at_save: int | None = None, names: tuple[str, ...] = ()
) -> None:
    """Steps from the last checkpoint on, with one every fourth and a validation every eighth step."""
    start = int(draft.state_read("checkpoint") or b"0")
    with tracked(draft, *names) as to:
        if start:
            to.log({"kind": "resume", "step": start})
        for step in range(start, until + 1):
            if step > start:
                to.log({"kind": "step", "step": step, "loss": 1.0, "lr": 0.1})
            if step and step % 4 == 0 and step > start:
                if step == at_save:
                    draft.state_write("checkpoint", b"%d" % step)
                    raise Killed
                to.save(b"%d" % step)
            if step and step % 8 == 0:
                to.log({"kind": "validation", "step": step, "miou": 0.5, "accuracy": None, "iou": {"car": None}})
        if killed:
            raise Killed


def expected(memory: type[Memory], until: int) -> None:
    losses = [step for _, name, step in memory.got if name == "train/loss"]
    assert losses == list(range(1, until + 1))
    assert [step for _, name, step in memory.got if name == "val/miou"] == list(range(8, until + 1, 8))
    assert len({run for run, _, _ in memory.got}) == 1
    assert {name for _, name, _ in memory.got} == {"train/loss", "train/lr", "val/miou"}


def test_an_uninterrupted_training(memory: type[Memory], draft: Draft) -> None:
    train(draft, until=18)
    expected(memory, 18)


@pytest.mark.parametrize("moment", [1, 3, 4, 7, 8, 9, 15, 16, 17])
def test_a_killed_training_sends_no_step_twice(memory: type[Memory], draft: Draft, moment: int) -> None:
    with pytest.raises(Killed):
        train(draft, until=moment, killed=True)
    train(draft, until=18)
    expected(memory, 18)


@pytest.mark.parametrize("moment", [4, 8, 16])
def test_a_kill_between_checkpoint_and_sending_leaves_no_gap(memory: type[Memory], draft: Draft, moment: int) -> None:
    with pytest.raises(Killed):
        train(draft, until=moment, at_save=moment)
    train(draft, until=18)
    expected(memory, 18)


def test_a_tracker_that_joins_later_gets_the_whole_curve(memory: type[Memory], draft: Draft) -> None:
    with pytest.raises(Killed):
        train(draft, until=9, killed=True, names=("other",))
    memory.got.clear()
    train(draft, until=18, names=("memory",))
    expected(memory, 18)


def test_a_failing_tracker_stops_neither_training_nor_the_other(
    memory: type[Memory], draft: Draft, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = type("Broken", (Memory,), {"got": [], "broken_at": 5})
    monkeypatch.setitem(tracking.TRACKERS, "other", Choice(broken, "json"))
    train(draft, until=18, names=("other", "memory"))
    expected(memory, 18)
    assert {step for _, _, step in broken.got} == {1, 2, 3, 4}
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "teacher: tracker other failed (no route); the training goes on without it"


def test_a_training_is_not_begun_before_its_first_checkpoint(memory: type[Memory], draft: Draft) -> None:
    with pytest.raises(Killed):
        train(draft, until=3, killed=True)
    assert not draft.is_started()
    with tracked(draft) as to:
        to.log({"kind": "step", "step": 1, "loss": 1.0, "lr": 0.1})
        to.save(b"x")
    assert draft.is_started()


def test_no_tracker_costs_nothing(draft: Draft) -> None:
    with Tracking(draft, (), step="t", project="p", folder=draft.folder, settings={}, save=len) as to:
        to.log({"kind": "step", "step": 1, "loss": 1.0, "lr": 0.1})
        to.save(b"x")
    assert draft.state_read("tracking.json") is None
    assert len(draft.log_lines("metrics.jsonl")) == 1


def test_a_missing_client_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(trackers.TRACKERS, "wandb", Choice(trackers.Wandb, "no_such_module"))
    with pytest.raises(ConfigError, match=r"pip install 'autolabel-seg\[wandb\]'"):
        check_trackers(["wandb"])
    check_trackers([])


def test_figures_that_are_not_defined_are_left_out() -> None:
    row: dict[str, Any] = {"kind": "step", "step": 3, "loss": None, "lr": 0.1}
    figures = figures_of(row)
    assert figures is not None
    assert figures.values == {"train/lr": 0.1}
    assert figures_of({"kind": "note", "text": "x"}) is None
