"""Passes the rows of a training to its trackers: every step once, also over kills. No tracker stops a training.

Rows wait until the checkpoint that contains them is durable. Before they are sent, the draft notes up to which step
they go; so a killed training, which does the steps since its checkpoint again, sends none twice. Steps that a kill cut
off between checkpoint and note are sent from the log when the training goes on. A kill during the sending itself, of
some milliseconds, may leave a gap in a tracker; the log and the report have all steps.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from autolabel.artifacts import append_training_log, training_log
from autolabel.progress import print_err
from autolabel.store import Draft, make_folder
from autolabel.training.trackers import TRACKERS, Choice, TrackedRun, Tracker

_STATE = "tracking.json"
Sent = dict[str, int]  # the last step, by kind of row


class Figures(NamedTuple):
    kind: str  # of row: a step may have one of each
    step: int
    values: dict[str, float]


class Tracking:
    """The trackers of one training. `log` and `save` take the place of the training's own.

    with Tracking(draft, ["tensorboard"], ...) as tracking:
        fit(..., log=tracking.log, save=tracking.save)
    """

    def __init__(
        self,
        draft: Draft,
        names: Sequence[str],
        *,
        step: str,
        project: str,
        folder: Path,
        settings: Mapping[str, Any],
        save: Callable[[bytes], None],
    ) -> None:
        self._draft, self._save, self._step_name = draft, save, step
        self._state = _read_state(draft) if names else {}
        run_id = self._state.setdefault("id", f"{step}-{secrets.token_hex(4)}")
        sent = self._state.setdefault("sent", {})
        self._sinks = [
            _Sink(name, TRACKERS[name], TrackedRun(project, run_id, folder / name, settings), sent.setdefault(name, {}))
            for name in names
        ]

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """After an error the rows since the last checkpoint are left out: they come again."""
        if kind is None:
            self._send()
        for sink in self._sinks:
            self._report(sink.close())

    def log(self, row: Mapping[str, Any]) -> None:
        """Keep a row in the log and for the trackers."""
        if row["kind"] == "resume":
            self._replay(row["step"])
        append_training_log(self._draft, row)
        self._add([row])

    def save(self, checkpoint: bytes) -> None:
        self._save(checkpoint)
        self._send()

    def _replay(self, last: int) -> None:
        if self._sinks:
            self._add(row for row in training_log(self._draft) if row.get("step", last + 1) <= last)

    def _add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            figures = figures_of(row)
            if figures is not None:
                for sink in self._sinks:
                    sink.add(figures)

    def _send(self) -> None:
        if any(sink.waiting for sink in self._sinks):
            for sink in self._sinks:
                sink.mark_sent()
            self._note()
            for sink in self._sinks:
                self._report(sink.send())

    def _note(self) -> None:
        self._draft.state_write(_STATE, json.dumps(self._state).encode())

    def _report(self, problem: str | None) -> None:
        if problem:
            print_err(f"{self._step_name}: {problem}; the training goes on without it")


class _Sink:
    """One tracker with the figures that wait for it. A tracker that fails once gets no more."""

    def __init__(self, name: str, choice: Choice, run: TrackedRun, sent: Sent) -> None:
        self._name, self._choice, self._run, self._sent = name, choice, run, sent
        self._added = dict(sent)
        self.waiting: list[Figures] = []
        self._tracker: Tracker | None = None
        self._failed = False

    def add(self, figures: Figures) -> None:
        if figures.step > self._added.get(figures.kind, 0):
            self._added[figures.kind] = figures.step
            self.waiting.append(figures)

    def mark_sent(self) -> None:
        self._sent.update(self._added)

    def send(self) -> str | None:
        """Pass on what waits; the problem, if there is one."""
        waiting, self.waiting = self.waiting, []
        return None if self._failed else self._guarded(partial(self._pass_on, waiting))

    def close(self) -> str | None:
        tracker = self._tracker
        return None if self._failed or tracker is None else self._guarded(tracker.close)

    def _pass_on(self, waiting: list[Figures]) -> None:
        if self._tracker is None:
            make_folder(self._run.folder)
            self._tracker = self._choice.build(self._run)
        for figures in waiting:
            self._tracker.log(figures.step, figures.values)
        self._tracker.flush()

    def _guarded(self, call: Callable[[], None]) -> str | None:
        try:
            call()
        except Exception as error:  # a foreign client may raise anything
            self._failed = True
            text = next(iter(str(error).splitlines()), "") or type(error).__name__
            return f"tracker {self._name} failed ({text})"
        return None


def figures_of(row: Mapping[str, Any]) -> Figures | None:
    """The figures of a row of the training log, under the names that trackers show; None for notes."""
    if row["kind"] == "step":
        values = {"train/loss": row["loss"], "train/lr": row["lr"]}
    elif row["kind"] == "validation":
        by_class = {f"val_iou/{name}": value for name, value in row["iou"].items()}
        values = {"val/miou": row["miou"], "val/accuracy": row["accuracy"], **by_class}
    else:
        return None
    return Figures(row["kind"], row["step"], {name: value for name, value in values.items() if value is not None})


def _read_state(draft: Draft) -> dict[str, Any]:
    with suppress(ValueError):
        state = json.loads(draft.state_read(_STATE) or b"{}")
        return state if isinstance(state, dict) else {}
    return {}
