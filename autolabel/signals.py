"""Stop requests: a first SIGINT or SIGTERM sets a flag for the next safe point, a second one ends the process."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Stopped(Exception):
    """Raised at a safe point after a stop request; everything finished so far is on disk."""

    def __init__(self, signum: int = signal.SIGTERM) -> None:
        self.signum = int(signum)
        super().__init__(f"stopped by {signal.Signals(signum).name}")


class StopFlag:
    """Records a stop request: calling it returns whether there was one, and `check()` raises `Stopped` after one."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._since = 0.0  # s, monotonic clock

    def request(self, signum: int) -> None:
        self._since = time.monotonic()
        self.signum = signum

    def __call__(self) -> bool:
        return self.signum is not None

    def check(self, *, after: float = 0.0) -> None:
        """Raise Stopped if a stop was requested at least `after` seconds ago."""
        if self.signum is not None and time.monotonic() - self._since >= after:
            raise Stopped(self.signum)


def announcement(signum: int) -> str:
    return f"{signal.Signals(signum).name}: stopping at the next safe point (again to end at once)"


@contextmanager
def catch_signals(*, quiet: bool = False) -> Iterator[StopFlag]:
    """Within the block the first SIGINT or SIGTERM sets the flag; a second one has its default effect.

    With `quiet` nothing is printed, because the process that passed the signal on has told the user.
    """
    flag = StopFlag()

    def handler(signum: int, frame: FrameType | None) -> None:
        flag.request(signum)
        signal.signal(signum, signal.SIG_DFL)
        if quiet:
            return
        with suppress(OSError, RuntimeError):  # closed pipe, or the signal interrupted a write to stderr
            print(announcement(signum), file=sys.stderr, flush=True)

    previous = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for s, old in previous.items():
            signal.signal(s, old)
