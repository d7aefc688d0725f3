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
        for item in self._items:
            self._pending.append(self._pool.submit(self._function, item))
            # What is ready goes out before `items` is asked for more: it may be slow.
            while len(self._pending) > self._ahead or (self._pending and self._pending[0].done()):
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
