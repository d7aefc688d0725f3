"""Progress on stderr: a bar on a terminal, elsewhere a line every 30 s or 5 %."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from autolabel.errors import printable

if TYPE_CHECKING:
    from tqdm import tqdm

_LINE_SECONDS = 30.0
_LINE_FRACTION = 0.05


def print_err(line: str) -> None:
    """Print a line to stderr, with unprintable characters escaped.

    A closed pipe (Ctrl-C ends `tee` too) or a full disk must not end the run.
    """
    try:
        print(printable(line), file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    except OSError:
        pass


def print_progress(line: str) -> None:
    """Print a line that says how far a run is. In a log, which is no terminal, it begins with the time."""
    print_err(line if sys.stderr.isatty() else f"{time.strftime('%H:%M:%S')} {line}")


def duration(seconds: float) -> str:
    """A duration as people say it: "40 s", "12 min", "3 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Counts finished items; `fields` (loss, mIoU, queue depths) are shown after the count.

    with Progress(total=400, desc="teacher", unit="step") as bar:
        bar.update(1, loss=2.31)
    """

    def __init__(self, *, total: int, desc: str, unit: str = "it", initial: int = 0, quiet: bool = False) -> None:
        self.total, self.desc, self.unit, self.done, self.quiet = total, desc, unit, initial, quiet
        self._initial = initial
        self._fields: dict[str, object] = {}
        self._start = self._last_time = time.monotonic()
        self._last_done = initial
        self._bar: tqdm[object] | None = None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=desc, unit=unit, initial=initial, file=sys.stderr, dynamic_ncols=True)

    def update(self, n: int = 1, **fields: object) -> None:
        self.done += n
        self._fields.update(fields)
        if self._bar is not None:
            self._bar.set_postfix(self._fields, refresh=False)
            self._bar.update(n)
        elif not self.quiet:
            self._maybe_line()

    def _maybe_line(self) -> None:
        now = time.monotonic()
        moved = self.done - self._last_done >= _LINE_FRACTION * max(self.total, 1)
        # At most one line per second, so that a short job of many items stays quiet.
        due = now - self._last_time >= _LINE_SECONDS or (moved and now - self._last_time >= 1.0)
        if due or self.done >= self.total > self._last_done:
            self._print_line(now)

    def _print_line(self, now: float) -> None:
        rate = (self.done - self._initial) / max(now - self._start, 1e-9)
        seconds_left = (self.total - self.done) / rate if rate > 0 else 0.0
        extra = "".join(f", {k} {v}" for k, v in self._fields.items())
        percent = 100 * self.done / max(self.total, 1)
        left = f", {duration(seconds_left)} left" if self.done < self.total else ""
        print_progress(f"{self.desc}: {self.done}/{self.total} {self.unit} ({percent:.0f} %){left}{extra}")
        self._last_time, self._last_done = now, self.done

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
