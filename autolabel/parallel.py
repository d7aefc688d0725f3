"""Ordered parallel maps in bounded memory: over threads of this process, or over one of joblib's back-ends.

    with ordered_results(function, items, backend="loky", jobs=4) as results:
        for result in results: ...

Results come in the order of the items. Each worker has only a few items at a time, so memory stays bounded. Function
and items are sent to worker processes, so both must pickle. These processes end with the block in any case.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar

from autolabel.distribution import install_command
from autolabel.errors import AutolabelError, SettingError
from autolabel.hardware import usable_cores
from autolabel.offline import refuse_other_machine

Item = TypeVar("Item")
Result = TypeVar("Result")


class OrderedMap(Generic[Item, Result]):
    """`map(function, items)` in `workers` threads, with results in order and at most `ahead` items in advance.

    with OrderedMap(decode, rows, workers=4, ahead=8) as images:
        for image in images: ...

    `items` is read in the loop's own thread. The first failure seen, in any order, ends the loop with the original
    exception. Leaving the `with` block drops the items not started yet and waits for those in work.
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
        num_taken = 0
        for item in self._items:
            self._pending.append(self._pool.submit(self._function, item))
            num_taken += 1
            # A ready result waits for at most two more items, because `items` may be slow. Waiting for two instead of
            # one lets the threads get ahead again after they fell behind.
            while len(self._pending) > self._ahead or (num_taken > 1 and self._pending and self._pending[0].done()):
                num_taken = 0
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
        """Number of results that wait to be taken; near 0 the threads are the bottleneck."""
        return sum(future.done() for future in self._pending)

    @property
    def unfinished(self) -> int:
        """Number of items that wait for a thread or are in work."""
        return len(self._pending) - self.ready


_AHEAD = 4  # items per worker that are sent together
_POLL_SECONDS = 1.0


@contextmanager
def _loky(jobs: int) -> Iterator[dict[str, Any]]:
    """Worker processes on this machine."""
    from joblib.externals.loky import BrokenProcessPool, get_reusable_executor

    unfinished = True
    try:
        yield {"n_jobs": jobs or usable_cores(), "initializer": _exit_with_parent, "initargs": (os.getpid(),)}
        unfinished = False
    except BrokenProcessPool as error:
        remedy = "run the same command again to go on, with fewer --jobs if memory ran out"
        raise AutolabelError("runtime.backend", "a worker process was ended from outside", remedy) from error
    finally:
        get_reusable_executor().shutdown(wait=True, kill_workers=unfinished)


def _exit_with_parent(parent: int) -> None:
    """Make a worker leave Ctrl-C to its parent, and end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _dask_cluster() -> str | None:
    import dask

    address: str | None = dask.config.get("scheduler-address", None)
    return address


@contextmanager
def _dask(jobs: int) -> Iterator[dict[str, Any]]:
    """The cluster of dask's own configuration, or processes on this machine."""
    from dask.distributed import Client

    local = {"n_workers": jobs or usable_cores(), "threads_per_worker": 1, "dashboard_address": None}
    with Client(**({} if _dask_cluster() else local)) as client:
        yield {"n_jobs": jobs or -1, "client": client}


def _ray_cluster() -> str | None:
    return os.environ.get("RAY_ADDRESS")


@contextmanager
def _ray(jobs: int) -> Iterator[dict[str, Any]]:
    """The cluster that RAY_ADDRESS names, or processes on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # ray sends no usage reports
    import ray
    from ray.util.joblib import register_ray

    local = {"num_cpus": jobs or usable_cores(), "include_dashboard": False}
    ray.init(**({} if _ray_cluster() is not None else local), log_to_driver=False, logging_level="error")
    try:
        register_ray()
        yield {"n_jobs": jobs or -1}
    finally:
        ray.shutdown()


class _Joblib(NamedTuple):
    start: Callable[[int], AbstractContextManager[dict[str, Any]]]  # yields arguments of joblib.parallel_config
    module: str  # the library it needs
    return_as: str = "generator"
    cluster: Callable[[], str | None] = lambda: None  # the address of the one that the user configured
    cluster_setting: str = ""


_JOBLIB = {
    "loky": _Joblib(_loky, "joblib"),
    "dask": _Joblib(_dask, "distributed", cluster=_dask_cluster, cluster_setting="DASK_SCHEDULER_ADDRESS"),
    "ray": _Joblib(_ray, "ray", "list", _ray_cluster, "RAY_ADDRESS"),
}
BACKENDS = ("threads", *_JOBLIB)


def require_backend(name: str) -> None:
    """Raise SettingError unless the back-end exists and its library is installed; ConfigError under `--offline` for a
    cluster on other machines."""
    if name not in BACKENDS:
        raise SettingError("backend", f"no back-end is named {name!r}", f"take one of {', '.join(BACKENDS)}")
    if name not in _JOBLIB:
        return
    chosen = _JOBLIB[name]
    if importlib.util.find_spec(chosen.module) is None:
        raise SettingError("backend", f"{name!r} needs {chosen.module}", install_command("dist"))
    cluster = chosen.cluster()
    if cluster and cluster != "local":
        refuse_other_machine(chosen.cluster_setting, cluster)


@contextmanager
def ordered_results(
    function: Callable[[Item], Result], items: Iterable[Item], *, backend: str, jobs: int
) -> Iterator[Iterator[Result]]:
    """Results of `items` in order, computed by `jobs` workers (0 = one per usable core, or a whole cluster).

    `items` is read in the caller's thread. The first failure is raised as the original exception.
    """
    if backend == "threads":
        workers = jobs or usable_cores()
        with OrderedMap(function, items, workers=workers, ahead=workers) as in_threads:
            yield iter(in_threads)
        return
    import joblib

    chosen = _JOBLIB[backend]
    with chosen.start(jobs) as config, joblib.parallel_config(backend, **config):
        results = _in_batches(function, items, _AHEAD * joblib.effective_n_jobs(config["n_jobs"]), chosen.return_as)
        with closing_quietly(results):
            yield results


def _in_batches(
    function: Callable[[Item], Result], items: Iterable[Item], size: int, return_as: str
) -> Generator[Result, None, None]:
    """Give joblib `size` items at a time: it reads items as fast as workers finish, even if no result is taken."""
    from joblib import Parallel, delayed

    with Parallel(return_as=return_as, batch_size=1) as pool:
        remaining = iter(items)
        while batch := list(islice(remaining, size)):
            results = pool(delayed(function)(item) for item in batch)
            if return_as == "list":
                yield from results
                continue
            with closing_quietly(results):
                yield from results


@contextmanager
def closing_quietly(results: Generator[Any, None, None]) -> Iterator[None]:
    """Close `results`, and so end its work, with the block; suppresses joblib's warning about unfinished work."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()
