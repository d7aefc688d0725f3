from __future__ import annotations

import itertools
import threading

import pytest

from autolabel.parallel import OrderedMap
from tests.helpers.hang import HANG_SECONDS


def pool_threads() -> int:
    return sum(thread.name.startswith("autolabel") for thread in threading.enumerate())


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1), (4, 1), (1, 5), (4, 9)])
def test_results_in_order(workers: int, ahead: int) -> None:
    with OrderedMap(lambda x: x * x, range(50), workers=workers, ahead=ahead) as results:
        assert list(results) == [x * x for x in range(50)]
    assert pool_threads() == 0


def test_order_holds_when_the_first_is_slowest() -> None:
    others_done = threading.Semaphore(0)

    def work(x: int) -> int:
        if x == 0:
            for _ in range(5):
                others_done.acquire()
        else:
            others_done.release()
        return x

    with OrderedMap(work, range(6), workers=2, ahead=6) as results:
        assert list(results) == list(range(6))


def test_takes_only_as_much_as_it_may() -> None:
    taken = itertools.count()
    yielded, far = 0, 0
    items = (next(taken) for _ in itertools.count())
    with OrderedMap(lambda x: x, items, workers=2, ahead=3) as results:
        for x in results:
            yielded += 1
            far = max(far, x)
            assert results.ready <= 4
            if yielded == 100:
                break
    assert next(taken) <= 100 + 3 + 1
    assert pool_threads() == 0


def test_ready_results_come_before_more_is_taken() -> None:
    """A slow source must not hold back what is finished: it goes out first."""
    finished = threading.Event()
    seen: list[str] = []

    def source():
        yield 0
        assert finished.wait(HANG_SECONDS)
        yield 1
        seen.append("asked for a third")

    def work(x: int) -> int:
        if x == 0:
            finished.set()
        return x

    with OrderedMap(work, source(), workers=1, ahead=5) as results:
        for x in results:
            seen.append(f"got {x}")
    assert seen.index("got 0") < seen.index("asked for a third")


def test_threads_that_fell_behind_get_ahead_again() -> None:
    """All results are ready whenever the loop comes back: it finds more and more of them, up to the bound."""
    finished = threading.Semaphore(0)
    taken = itertools.count()
    num_finished, ready = 0, []
    with OrderedMap(lambda x: finished.release(), (next(taken) for _ in range(20)), workers=1, ahead=4) as results:
        for _ in results:
            num_taken = int(repr(taken)[6:-1])
            while num_finished < num_taken:
                assert finished.acquire(timeout=HANG_SECONDS)
                num_finished += 1
            ready.append(num_taken - len(ready) - 1)
    assert max(ready) == 4
    assert ready[4:15] == [4] * 11


def test_a_failure_is_raised_as_it_was_and_before_its_turn() -> None:
    """One thread: when item 3 runs, item 2 has failed; item 1 is ready and due, but the failure comes first."""
    enough, failed = threading.Event(), threading.Event()
    error = ValueError("item 2")
    yielded: list[int] = []

    def source():
        for x in range(50):
            if x == 4:
                enough.set()
            yield x

    def work(x: int) -> int:
        if x == 0:
            assert enough.wait(HANG_SECONDS)
        if x == 2:
            raise error
        if x == 3:
            failed.set()
        return x

    def consume() -> None:
        with OrderedMap(work, source(), workers=1, ahead=8) as results:
            for x in results:
                yielded.append(x)
                assert failed.wait(HANG_SECONDS)

    with pytest.raises(ValueError, match="item 2") as caught:
        consume()
    assert caught.value is error
    assert yielded == [0]
    assert pool_threads() == 0


def test_a_failing_source_stops_the_threads() -> None:
    def source():
        yield 1
        raise KeyError("source")

    def consume() -> None:
        with OrderedMap(lambda x: x, source(), workers=2, ahead=2) as results:
            list(results)

    with pytest.raises(KeyError, match="source"):
        consume()
    assert pool_threads() == 0
