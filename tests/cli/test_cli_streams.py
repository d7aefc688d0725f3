"""Readers that go away, Ctrl-C, and paths that are no text: the real program in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.experiments import experiment_toml, scenes


@pytest.fixture
def broken_pipe() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def verify(tmp_path: Path) -> list[str]:
    """A command that prints paths below a folder whose name is no text."""
    file = tmp_path / "x.toml"
    file.write_text(experiment_toml())
    work = tmp_path / os.fsdecode(b"w\xff")
    (work / "artefacts" / "manifest" / ("0" * 16)).mkdir(parents=True)
    return [sys.executable, "-m", "autolabel", "verify", str(file), "--work", str(work)]


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_error(verify: list[str], broken_pipe: int) -> None:
    result = subprocess.run(verify, stdout=broken_pipe, stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["status", "--help"], ["--version"]])
def test_a_full_disk_behind_stdout_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run([sys.executable, "-m", "autolabel", *arguments], stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert result.stderr == b"autolabel: input/output: No space left on device\n"


@pytest.mark.slow
def test_a_full_disk_behind_stderr_does_not_cost_the_run(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(experiment_toml(data=scenes(8, 8, fine=2, coarse=1, val=1)))
    command = [sys.executable, "-m", "autolabel", "manifest", str(tmp_path / "x.toml"), "--work", str(tmp_path / "w")]
    with Path("/dev/full").open("wb") as full:
        assert subprocess.run(command, stdout=subprocess.DEVNULL, stderr=full).returncode == 0
        assert subprocess.run([*command, "--set=seed=-1"], stdout=subprocess.DEVNULL, stderr=full).returncode == 2


@pytest.mark.slow
def test_paths_that_are_no_text_are_printed(verify: list[str]) -> None:
    environment = {**os.environ, "PYTHONUTF8": "1"}
    result = subprocess.run(verify, env=environment, capture_output=True)
    assert result.returncode == 1
    assert rb"/w\udcff/artefacts/manifest/" in result.stdout
    assert b"Traceback" not in result.stderr


def test_ctrl_c_that_also_ends_the_reader_of_stderr_still_stops_at_a_safe_point(broken_pipe: int) -> None:
    """`autolabel run ... 2>&1 | tee log`: the terminal sends SIGINT to both."""
    script = """
import os, signal
from autolabel.progress import Progress
from autolabel.signals import catch_signals
with catch_signals() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    with Progress(total=1, desc="teacher") as bar:
        bar.update()
    assert stop()
"""
    assert subprocess.run([sys.executable, "-c", script], stderr=broken_pipe).returncode == 0


@pytest.mark.slow
def test_ctrl_c_in_a_command_that_only_looks() -> None:
    script = """
import os, signal, sys
import autolabel.config.load
from autolabel.cli import main

autolabel.config.load.read_user_file = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGINT)
sys.argv = ["autolabel", "status", "x.toml"]
main()
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert (run.returncode, run.stdout, run.stderr) == (130, b"", b"autolabel: stopped by SIGINT\n")


@pytest.mark.slow
def test_ctrl_c_twice_in_a_command_that_only_looks() -> None:
    script = """
import os, signal, sys
import autolabel.cli.main, autolabel.config.load

def say_and_interrupt(text):
    print(text, file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGINT)

autolabel.config.load.read_user_file = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGINT)
autolabel.cli.main.print_err = say_and_interrupt
sys.argv = ["autolabel", "status", "x.toml"]
autolabel.cli.main.main()
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert (run.returncode, run.stdout, run.stderr) == (-signal.SIGINT, b"", b"autolabel: stopped by SIGINT\n")


def test_ctrl_c_while_the_program_starts_ends_it_without_a_traceback() -> None:
    script = """
import os, signal, sys
from autolabel.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal


class Importing:
    def find_spec(self, name, path, target=None):
        if name == "autolabel.cli.commands":
            os.kill(os.getpid(), signal.SIGINT)


sys.meta_path.insert(0, Importing())
main()
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert (run.returncode, run.stderr) == (-signal.SIGINT, b"")
