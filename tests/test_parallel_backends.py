"""Back-ends: the same results in the same order wherever they are made, bounded, and nothing outlives them."""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from autolabel.errors import ConfigError
from autolabel.labels.png import require_codec
from autolabel.parallel import BACKENDS, ordered_results, require_backend
from tests.helpers.hang import HANG_SECONDS
from tests.helpers.paths import ROOT

NEEDS = {"dask": "distributed", "ray": "ray"}  # the extra `dist` is not in dev: ray alone is 240 MB
EVERY = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None, reason=f"{name} is not installed"
        ),
    )
    for name in BACKENDS
]
# A command whose workers say who they are and then take long.
SLOW = """
import sys
from functools import partial
from autolabel.parallel import ordered_results
from tests.test_parallel_backends import slow
with ordered_results(partial(slow, sys.argv[1]), range(4), backend="loky", jobs=2) as results:
    list(results)
"""


def slow(folder: str, x: int) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(2 * HANG_SECONDS)  # never the end of a test: it waits for something else


def torch_is_there(x: int) -> tuple[bool, int]:
    import autolabel.stages.label  # noqa: F401 (what a worker of the stage imports)

    return "torch" in sys.modules, os.getpid()


@pytest.mark.filterwarnings("ignore:Exception in thread ExecutorManagerThread")  # see below
@pytest.mark.slow
@pytest.mark.parametrize("backend", EVERY)
def test_in_order_and_with_the_original_error(backend: str) -> None:
    with ordered_results(partial(pow, 2), range(20), backend=backend, jobs=2) as results:
        assert list(results) == [2**x for x in range(20)]
    with (
        pytest.raises(ConfigError, match=r"^codec: no codec is named 'seven'; take one of default, archive"),
        ordered_results(require_codec, ["default"] * 7 + ["seven"] * 9, backend=backend, jobs=2) as results,
    ):
        list(results)
    with ordered_results(require_codec, (), backend=backend, jobs=1) as results:
        assert list(results) == []


# loky's thread may find its work taken away while it is ended early; the results are not touched by that.
@pytest.mark.filterwarnings("ignore:Exception in thread ExecutorManagerThread")
@pytest.mark.slow
@pytest.mark.parametrize("backend", EVERY)
def test_takes_only_as_much_as_it_may(backend: str) -> None:
    taken = itertools.count()
    items = (next(taken) for _ in itertools.count())
    with ordered_results(partial(pow, 2), items, backend=backend, jobs=2) as results:
        assert [next(results) for _ in range(20)] == [2**x for x in range(20)]
    assert next(taken) <= 20 + 2 * 4 + 2


@pytest.mark.slow
def test_processes_are_others_know_no_torch_and_end() -> None:
    with ordered_results(torch_is_there, range(4), backend="loky", jobs=2) as results:
        found = list(results)
    assert not any(torch for torch, _ in found)
    assert os.getpid() not in {pid for _, pid in found}
    assert not any(alive(pid) for _, pid in found)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(how: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-c", SLOW, str(tmp_path)]
    workers: list[int] = []
    with subprocess.Popen(command, start_new_session=True, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: len(list(tmp_path.iterdir())) == 2)
            workers = [int(path.name) for path in tmp_path.iterdir()]
            if how == signal.SIGINT:
                os.killpg(process.pid, how)  # as a terminal does: to all
            else:
                process.send_signal(how)
            assert process.wait(HANG_SECONDS) != 0
            until(lambda: not any(alive(pid) for pid in workers))
        finally:
            process.kill()
            for pid in filter(alive, workers):
                os.kill(pid, signal.SIGKILL)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + HANG_SECONDS
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_unknown_or_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no back-end is named 'spark'; take one of threads, loky, dask, ray"):
        require_backend("spark")
    for name, module in NEEDS.items():
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ConfigError, match=rf"'{name}' needs {module}; pip install 'autolabel-seg\[dist\]'"):
            require_backend(name)
    require_backend("threads")
    require_backend("loky")
