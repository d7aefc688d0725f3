"""How full the queues of a streaming stage are, and which side keeps the others waiting: reading, network or disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from autolabel.distributed import Counter

if TYPE_CHECKING:
    from autolabel.inference.engine import Stats

SIDES = ("decoding", "network", "writing")


class ThroughputLog:
    """Measures batches and chunks; logs one line per chunk and adds up the busy time of each side over all ranks.

    `threads`: the number of threads that decode, and that run the network; one writes.
    """

    def __init__(
        self, log: Callable[[str], None], counter: Callable[[str], Counter], *, threads: tuple[int, int]
    ) -> None:
        self._log = log
        self._threads = dict(zip(SIDES, (*threads, 1), strict=True))
        self._busy = {side: counter(f"busy/{side}") for side in SIDES}  # ms
        self._time = {side: counter(f"time/{side}") for side in SIDES}  # ms that there were to use
        self._batches: list[Stats] = []  # of the chunk at work
        self._seconds_writing = 0.0
        self._start_time = time.perf_counter()

    def batch(self, stats: Stats) -> None:
        self._batches.append(stats)

    def chunk(self, name: str, *, to_write: int) -> None:
        """The network has finished the chunk; `to_write` chunks wait for the disk or are being written."""
        batches, wall = self._batches, time.perf_counter() - self._start_time
        seconds = {
            "decoding": sum(stats.decoding for stats in batches),
            "network": sum(stats.network for stats in batches),
            "writing": self._seconds_writing,
        }
        row = {
            "chunk": name,
            "images": sum(stats.images for stats in batches),
            "decoded": _mean([stats.ready for stats in batches]),
            "decoded_at_most": batches[0].ahead if batches else 0,
            "running": _mean([stats.running for stats in batches]),
            "to_write": to_write,
            "seconds": {side: round(value, 3) for side, value in seconds.items()},
            "wall": round(wall, 3),
        }
        self._log(json.dumps(row))
        self._add(seconds, wall)
        self._batches, self._seconds_writing = [], 0.0
        self._start_time += wall

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around the writing of a chunk, in the one thread that does it."""
        start_time = time.perf_counter()
        yield
        self._seconds_writing += time.perf_counter() - start_time

    def end(self) -> None:
        """This rank's last chunk is written."""
        rest = {"decoding": 0.0, "network": 0.0, "writing": self._seconds_writing}
        self._add(rest, time.perf_counter() - self._start_time)

    def summary(self) -> dict[str, Any]:
        """The fraction of its time that each side was busy, over all ranks that have ended, and the busiest side."""
        busy = {side: self._busy[side].add(0) / max(self._time[side].add(0), 1) for side in SIDES}
        busiest = max(busy, key=lambda side: busy[side])
        return {"busy": {side: round(fraction, 3) for side, fraction in busy.items()}, "bottleneck": busiest}

    def _add(self, seconds: dict[str, float], wall: float) -> None:
        for side in SIDES:
            self._busy[side].add(round(1000 * seconds[side]))
            self._time[side].add(round(1000 * wall * self._threads[side]))


def _mean(values: list[int]) -> float:
    return round(sum(values) / max(len(values), 1), 2)
