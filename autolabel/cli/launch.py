"""`run --nproc`: runs one step in several processes of this machine, which torchrun's own agent starts and watches."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from autolabel.errors import AlreadyReported, AutolabelError
from autolabel.platforms import PLATFORM
from autolabel.progress import print_err
from autolabel.signals import StopFlag, Stopped, announcement

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing import LogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

LOCALHOST = "127.0.0.1"


def launch(
    arguments: Sequence[str], *, num_processes: int, step: str, memory_setting: str | None, stop: StopFlag
) -> None:
    """Run `autolabel ARGUMENTS` in `num_processes` ranks and wait for them.

    Raises AlreadyReported where a rank failed and said why, AutolabelError where one was killed, and Stopped after a
    signal; the ranks then had 30 seconds for their checkpoint. `memory_setting` bounds the memory of the step.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id="autolabel",
        rdzv_backend="c10d",
        rdzv_endpoint=f"{LOCALHOST}:0",
        local_addr=LOCALHOST,
        max_restarts=0,
        logs_specs=_streams(),
        signals_to_handle=",".join(s.name for s in PLATFORM.stop_signals()[2:]),  # the first two are ours, see below
    )
    try:
        with _signals_raised(), _silent_logging():
            stop.check()
            elastic_launch(config, sys.executable)("-m", "autolabel", *arguments)
    except SignalException as error:
        raise Stopped(error.sigval) from error
    except ChildFailedError as error:
        raise _failure(error, step, memory_setting) from error
    except RendezvousError as error:
        raise AutolabelError(step, f"the processes did not find each other ({error})", "run again") from error


def _streams() -> LogsSpecs:
    """The ranks write to this process's stderr. The agent writes no files and uses the loopback device only."""
    from torch.distributed.elastic.multiprocessing import LogsDest, LogsSpecs

    class Streams(LogsSpecs):
        @property
        def root_log_dir(self) -> str:
            return os.devnull

        def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
            for env in envs.values():
                env["TORCHELASTIC_ERROR_FILE"] = ""
                if sys.platform == "linux":
                    env["GLOO_SOCKET_IFNAME"] = "lo"
            silent, ours = dict.fromkeys(envs, os.devnull), dict.fromkeys(envs, "")
            return LogsDest(stdouts=silent, stderrs=ours, error_files=silent)

    return Streams()


@contextmanager
def _signals_raised() -> Iterator[None]:
    """The agent needs the first SIGINT or SIGTERM as an exception, to pass it on. A second one ends this process."""
    from torch.distributed.elastic.multiprocessing import SignalException

    def handler(signum: int, frame: FrameType | None) -> None:
        for s in (signal.SIGINT, signal.SIGTERM):
            signal.signal(s, signal.SIG_DFL)  # the ranks end with this process
        print_err(announcement(signum))
        raise SignalException(f"received {signum}", signal.Signals(signum))

    previous = {s: signal.getsignal(s) for s in PLATFORM.stop_signals()}
    try:
        for s in (signal.SIGINT, signal.SIGTERM):
            signal.signal(s, handler)
        yield
    finally:
        for s, old in previous.items():
            signal.signal(s, old)


@contextmanager
def _silent_logging() -> Iterator[None]:
    """Silence the agent's reports, which would hide the one line of the error."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)


def _failure(error: ChildFailedError, step: str, memory_setting: str | None) -> Exception:
    """The error of the rank that ended first: the agent then ends the others with SIGTERM."""
    failures = sorted(error.failures.items(), key=lambda item: item[1].exitcode == -signal.SIGTERM)
    rank, first = failures[0]
    if first.exitcode in (128 + signal.SIGINT, 128 + signal.SIGTERM):  # a signal to one rank has stopped all
        return Stopped(first.exitcode - 128)
    if first.exitcode > 0:
        return AlreadyReported(first.exitcode)
    name = signal.Signals(-first.exitcode).name
    smaller = f", with a smaller {memory_setting} if memory ran out" if memory_setting else ""
    return AutolabelError(step, f"process {rank} was ended by {name}", f"run the same command again to go on{smaller}")
