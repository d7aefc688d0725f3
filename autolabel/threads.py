"""Work in threads behind a loop, in order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class OrderedMap(Generic[Item, Result]):
    """`map(function, items)` in `workers` threads: results in order, at most `ahead` more items taken than given out.

    with OrderedMap(decode, rows, workers=4, ahead=8) as images:
        for image in images: ...

    `items` is read in the loop's own thread. The first failure seen, in whatever order, ends the loop with the
    original exception; leaving the `with` block drops what has not begun and waits for what has.
    """

    def __init__(self, function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, ahead: int) -> None:
        assert min(workers, ahead) >= 1, (workers, ahead)
        self._function, self._items, self._ahead = function, items, ahead
        self._pending: deque[Future[Result]] = deque()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="autolabel")

    def __enter__(self) -> OrderedMap[Item, Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Result]:
        taken = 0
        for item in self._items:
            self._pending.append(self._pool.submit(self._function, item))
            taken += 1
            # What is ready waits for two more items at most, as `items` may be slow; for two and not for one, so that
            # the threads get ahead again after they fell behind.
            while len(self._pending) > self._ahead or (taken > 1 and self._pending and self._pending[0].done()):
                taken = 0
                yield self._next()
        while self._pending:
            yield self._next()

    def _next(self) -> Result:
        for future in self._pending:
            if future.done() and future.exception() is not None:
                future.result()
        return self._pending.popleft().result()

    @property
    def ready(self) -> int:
        """Results that wait to be taken: near 0 means that the threads are the bottleneck."""
        return sum(future.done() for future in self._pending)

    @property
    def unfinished(self) -> int:
        """Items that wait for a thread or are in one."""
        return len(self._pending) - self.ready
