"""The log of queues: a line per chunk, and the busiest side of all ranks."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from autolabel.distributed import SINGLE_PROCESS, Counter
from autolabel.inference.engine import Stats
from autolabel.stages.throughput import SIDES, ThroughputLog


def batch(ready: int, *, decoding: float = 0.0, network: float = 0.0) -> Stats:
    return Stats(images=2, ready=ready, ahead=6, running=2, decoding=decoding, network=network)


def shared() -> Callable[[str], Counter]:
    """Counters as ranks share them."""
    made: dict[str, Counter] = {}
    return lambda name: made.setdefault(name, SINGLE_PROCESS.counter(name))


def test_a_line_a_chunk() -> None:
    lines: list[str] = []
    queues = ThroughputLog(lines.append, shared(), threads=(4, 1))
    queues.batch(batch(3, decoding=0.5, network=1.0))
    queues.batch(batch(0, decoding=0.25))
    queues.chunk("a", to_write=1)
    queues.chunk("b", to_write=0)
    first, second = map(json.loads, lines)
    assert first.pop("wall") >= 0
    assert first == {
        "chunk": "a",
        "images": 4,
        "decoded": 1.5,
        "decoded_at_most": 6,
        "running": 2.0,
        "to_write": 1,
        "seconds": {"decoding": 0.75, "network": 1.0, "writing": 0.0},
    }
    assert (second["chunk"], second["images"], second["seconds"]["network"]) == ("b", 0, 0.0)


@pytest.mark.parametrize("busiest", SIDES[:2])
def test_the_busiest_side_of_two_ranks(monkeypatch: pytest.MonkeyPatch, busiest: str) -> None:
    now = [0.0]
    monkeypatch.setattr("autolabel.stages.throughput.time.perf_counter", lambda: now[0])
    counters = shared()
    ranks = [ThroughputLog(lambda line: None, counters, threads=(4, 1)) for _ in range(2)]
    for rank in ranks:
        rank.batch(batch(0, decoding=3.0, network={"decoding": 0.5, "network": 0.9}[busiest]))
    now[0] += 1
    for rank in ranks:
        rank.chunk("a", to_write=1)
    with ranks[0].writing():
        now[0] += 0.5
    ranks[0].end()
    said = ranks[0].summary()
    assert said["bottleneck"] == busiest
    network = {"decoding": 1.0, "network": 1.8}[busiest]
    assert said["busy"] == {"decoding": 0.6, "network": round(network / 2.5, 3), "writing": 0.2}


def test_nothing_was_done() -> None:
    assert ThroughputLog(lambda line: None, shared(), threads=(1, 1)).summary()["busy"] == dict.fromkeys(SIDES, 0.0)
