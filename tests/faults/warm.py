"""Commands of a process that has imported all they need: each is a fork of it, which runs the real command line.

Such a process is a real one, with a process id, signals and an exit code of its own. It begins where another one has
spent two seconds on importing. The parent must have computed nothing and must have no threads.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import multiprocessing.util
import os
import pkgutil
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn

import autolabel

_AUTOLABEL = [sys.executable, "-m", "autolabel"]


class Process:
    """The part of `subprocess.Popen` that the faults use: stdout goes nowhere, stderr is a pipe of text."""

    def __init__(self, command: Sequence[str], *, list_modules: Path | None = None, new_session: bool = False) -> None:
        """`command`: `PYTHON -m autolabel ARGUMENTS`. `list_modules`: the names of all that it imports go there."""
        assert [*command[:3]] == _AUTOLABEL, command
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on about forking beside a BLAS pool
            self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            _child([*command[3:]], writer, list_modules, new_session)
        os.close(writer)
        self.returncode: int | None = None
        self.stderr: IO[str] = os.fdopen(reader, encoding="utf-8", errors="backslashreplace")

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[None, str]:
        """(None, what it said on stderr) once it has ended; after `timeout` seconds it is killed."""
        late = threading.Event()
        timer = threading.Timer(timeout or threading.TIMEOUT_MAX, lambda: (late.set(), self.kill()))
        timer.start()
        try:
            with self.stderr:
                said = self.stderr.read()
            if self.returncode is None:
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        finally:
            timer.cancel()
            timer.join()  # the next fork must find one thread
        if late.is_set():
            raise subprocess.TimeoutExpired(_AUTOLABEL, timeout or 0, stderr=said)
        return None, said

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _child(arguments: list[str], stderr: int, list_modules: Path | None, new_session: bool) -> NoReturn:
    try:
        if new_session:
            os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(stderr, 2)
        os.close(stderr)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1, errors="backslashreplace")
        atexit._clear()  # what the parent has registered is the parent's,
        atexit.register(multiprocessing.util._exit_function)  # but each process removes its own semaphores
        if list_modules is not None:
            atexit.register(lambda: list_modules.write_text("\n".join(sys.modules)))
        from autolabel.cli.main import main

        sys.argv = ["autolabel", *arguments]
        main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)  # never back into the faults


def import_all() -> None:
    """All modules of autolabel, once here and not once a child."""
    for module in pkgutil.walk_packages(autolabel.__path__, "autolabel."):
        if "__main__" not in module.name:
            _try_import(module.name)


def import_listed(names: Path) -> None:
    """The modules that a child has listed there, a name a line; and what each child would otherwise find out anew."""
    for name in sorted(names.read_text().split()):
        if name not in sys.modules:
            _try_import(name)
    _remember()
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads <= 2, "a parent that forks has no threads but a BLAS pool's"


def _remember() -> None:
    """None of it depends on an experiment."""
    from autolabel.flow import environment
    from autolabel.report import build

    environment._versions(environment._PACKAGES)
    if importlib.util.find_spec("dateutil") is None:
        sys.modules["dateutil"] = None  # type: ignore[assignment]  # pyarrow looks for it at each comparison
    templates = build._environment()
    for name in templates.list_templates(filter_func=lambda name: name.endswith(".j2")):
        templates.get_template(name)


def _try_import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception:  # what an extra brings, or a module that only exists in its parent
        return
