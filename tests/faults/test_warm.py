"""Commands as forks of a process that has imported everything: they end as commands of a new process do."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

import autolabel.cli.main
from tests.faults import warm, workshop

WRONG = [sys.executable, "-m", "autolabel", "status", "no-such-file.toml"]


def test_a_fork_ends_as_a_new_process_does() -> None:
    code, said = workshop.ended(warm.Process(WRONG, new_session=True))
    assert code == 2
    assert workshop.one_line(said)
    assert (code, said) == workshop.call(WRONG)


def test_a_signal_ends_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autolabel.cli.main, "main", signal.pause)
    process = warm.Process(WRONG)
    assert process.poll() is None
    process.kill()
    assert workshop.ended(process) == (-signal.SIGKILL, [])


def test_a_fork_that_hangs_is_killed_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autolabel.cli.main, "main", signal.pause)
    monkeypatch.setattr(workshop, "HANG_SECONDS", 0.01)
    process = warm.Process(WRONG)
    code, said = workshop.ended(process)
    assert (code, process.returncode) == (-signal.SIGKILL, -signal.SIGKILL)
    assert said[0].startswith("HANGS")


def test_a_fork_lists_what_it_has_imported(tmp_path: Path) -> None:
    workshop.ended(warm.Process(WRONG, list_modules=tmp_path / "modules"))
    assert "autolabel.cli.main" in (tmp_path / "modules").read_text().split()
