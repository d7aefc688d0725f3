"""A function in a forked child, with limits on its memory and time; whatever happens there, the parent goes on."""

from __future__ import annotations

import os
import resource
import signal
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.hang import HANG_SECONDS


@dataclass(frozen=True)
class End:
    """`result`: what the child returned; None if it raised, was ended by a signal or hung."""

    result: str | None
    error: str = ""  # traceback, or "signal N"


def forked(action: Callable[[], str], *, memory: int | None = None, seconds: int = HANG_SECONDS) -> End:
    """`memory`: bytes of addresses beyond those in use; above it, allocations fail."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on about forking beside threads
        pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(action, memory, seconds, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        kind, _, text = pipe.read().decode("utf-8", "replace").partition("\n")
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return End(None, f"hangs for {seconds} s" if number == signal.SIGALRM else f"signal {number}")
    return End(text) if kind == "result" else End(None, text or "ended without a word")


def _child(action: Callable[[], str], memory: int | None, seconds: int, writer: int) -> None:
    signal.alarm(seconds)
    said = "error\n"
    try:
        if memory is not None:
            limit = _addresses() + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        said = f"result\n{action()}"
    except BaseException:
        said = f"error\n{traceback.format_exc()}"
    finally:
        data = said.encode("utf-8", "replace")
        while data:
            data = data[os.write(writer, data) :]
        os._exit(0)  # never back into the test runner


def _addresses() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
