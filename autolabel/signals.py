"""Being asked to stop: a first SIGINT or SIGTERM raises a flag for the next safe point, a second one ends at once."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Stopped(Exception):
    """Raised at a safe point after a stop was asked for; everything finished so far is on disk."""

    def __init__(self, signum: int = signal.SIGTERM) -> None:
        self.signum = int(signum)
        super().__init__(f"stopped by {signal.Signals(signum).name}")


class StopFlag:
    """False until a signal arrives; call it to ask, `check()` to raise `Stopped`."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._since = 0.0  # s, of the monotonic clock

    def request(self, signum: int) -> None:
        self._since = time.monotonic()
        self.signum = signum

    def __call__(self) -> bool:
        return self.signum is not None

    def check(self, *, after: float = 0.0) -> None:
        """Raises Stopped if a stop was asked for, `after` seconds ago or longer."""
        if self.signum is not None and time.monotonic() - self._since >= after:
            raise Stopped(self.signum)


def announcement(signum: int) -> str:
    return f"{signal.Signals(signum).name}: stopping at the next safe point (again to end at once)"


@contextmanager
def catch_signals(*, quiet: bool = False) -> Iterator[StopFlag]:
    """Within the block the first SIGINT or SIGTERM sets the flag; the second one acts as if never caught.

    quiet: whoever passed the signal on has told the user.
    """
    flag = StopFlag()

    def handler(signum: int, frame: FrameType | None) -> None:
        flag.request(signum)
        signal.signal(signum, signal.SIG_DFL)
        if quiet:
            return
        with suppress(OSError, RuntimeError):  # its reader has gone, or a write to it was what the signal interrupted
            print(announcement(signum), file=sys.stderr, flush=True)

    previous = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for s, old in previous.items():
            signal.signal(s, old)
