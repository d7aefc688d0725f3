"""Every step reaches a tracker once, over kills and failures."""

from __future__ import annotations

import os
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import SimpleNamespace
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


def test_a_training_starts_with_its_first_checkpoint(memory: type[Memory], draft: Draft) -> None:
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


class Client:
    """Stands for the module wandb: `init` would ask for a key on a terminal unless `login` has found one."""

    def __init__(self, mode: str | None, has_key: bool) -> None:
        self._mode, self._has_key, self._logged_in = mode, has_key, False
        self.limits: dict[str, Any] = {}

    def Settings(self, **settings: Any) -> dict[str, Any]:  # the client's name
        return settings

    def setup(self, settings: dict[str, Any]) -> SimpleNamespace:
        return SimpleNamespace(settings=SimpleNamespace(mode=self._mode))

    def login(self, *, prompt: bool, verify: bool) -> bool:
        assert not prompt
        assert not verify, "it has no time limit"
        self._logged_in = self._has_key
        return self._has_key

    def init(self, *, settings: dict[str, Any], **_: Any) -> SimpleNamespace:
        assert self._mode == "offline" or self._logged_in, "it asks for a key and waits"
        self.limits = settings
        return SimpleNamespace(define_metric=lambda *_, **__: None)


@pytest.fixture
def a_run(tmp_path: Path) -> TrackedRun:
    return TrackedRun("p", "teacher-1", tmp_path, {})


@pytest.mark.parametrize(("mode", "has_key"), [("offline", False), (None, True), ("online", True)])
def test_wandb_waits_for_its_server_for_a_bounded_time(
    mode: str | None, has_key: bool, a_run: TrackedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(mode, has_key)
    monkeypatch.setitem(sys.modules, "wandb", client)
    trackers.Wandb(a_run)
    assert 0 < client.limits["init_timeout"] <= 60
    assert 0 < client.limits["finish_timeout"] <= 60
    assert client.limits["finish_timeout_raises"], "the note says that figures are missing"


@pytest.mark.parametrize("mode", [None, "online"])
def test_wandb_asks_for_no_key(mode: str | None, a_run: TrackedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", Client(mode, has_key=False))
    with pytest.raises(PermissionError, match="no login; run `wandb login`, or set WANDB_MODE=offline"):
        trackers.Wandb(a_run)


REPORTS = {
    "wandb": ("WANDB_ERROR_REPORTING", "false"),
    "mlflow": ("MLFLOW_DISABLE_TELEMETRY", "true"),
    "trackio": ("GRADIO_ANALYTICS_ENABLED", "False"),
}


@pytest.mark.parametrize("own", [None, "mine"])
@pytest.mark.parametrize("name", REPORTS)
def test_a_client_reports_nothing_to_its_makers(
    name: str, own: str | None, a_run: TrackedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch is set before the import, which reads it; the user's own choice stays."""
    variable, off = REPORTS[name]
    monkeypatch.setattr(os, "environ", {variable: own} if own else {})
    found: list[str | None] = []

    class Watch(MetaPathFinder):
        def find_spec(self, module: str, *_: object) -> None:
            if module == name:
                found.append(os.environ.get(variable))
                raise ImportError

    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Watch(), *sys.meta_path])
    with pytest.raises(ImportError):
        trackers.TRACKERS[name].build(a_run).log(1, {"a": 1.0})
    assert found == [own or off]
