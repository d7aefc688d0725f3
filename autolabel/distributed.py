"""The process group of a torchrun job: the processes (ranks) that work on one step together, or a single process.

Only rank 0 holds the lock, writes and prints; it tells the other ranks which step to run (`flow.worker`). Every method
is a collective unless its docstring says otherwise: all ranks call it in the same order. In a single process every
method returns at once.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from autolabel.config.schema import RuntimeConfig
from autolabel.errors import AlreadyReported, AutolabelError, ConfigError, SettingError
from autolabel.hardware import resolve_device, usable_cores
from autolabel.offline import refuse_other_machine
from autolabel.platforms import PLATFORM
from autolabel.signals import StopFlag, Stopped

if TYPE_CHECKING:
    import torch

_COLLECTIVE_TIMEOUT = timedelta(minutes=30)  # a slower collective ends the job; a dead rank ends it at once
_BARRIER_TIMEOUT = timedelta(days=2)  # before a barrier, ranks do work of their own that may take long
_RENDEZVOUS_TIMEOUT = timedelta(minutes=2)  # the launcher's store runs before the ranks start
_POLL_SECONDS = 0.05
_BY_TORCHRUN = "start it with torchrun, or `autolabel run --nproc N`"
_GRACE_SECONDS = 5.0
_NO_MESSAGE = b"\0"


class Counter:
    """A number that all ranks add to and read at any time, each from one thread. No collective."""

    def __init__(self, store: Any, name: str) -> None:
        self._store, self._name, self._own = store, name, 0

    def add(self, amount: int) -> int:
        """Add `amount` and return the sum over all ranks so far."""
        if self._store is None:
            self._own += amount
            return self._own
        return int(self._store.add(self._name, amount))


@dataclass(frozen=True)
class ProcessGroup:
    """A rank's place among the ranks of a job; `local_*` counts the ranks of this machine only."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    store: Any = None  # torch.distributed.Store: keys and counters that all ranks see; None in a single process
    barrier_group: Any = None  # torch.distributed.ProcessGroup for `barrier`; None in a single process

    @property
    def is_rank0(self) -> bool:
        return self.rank == 0

    def runtime_for_rank(self, runtime: RuntimeConfig) -> RuntimeConfig:
        """The settings for this rank: its own CUDA device and its fraction of the cores. No collective."""
        if self.size == 1:
            return runtime
        device = resolve_device(runtime.device)
        if device == "cuda":
            device = resolve_device(f"cuda:{self.local_rank}")
        elif device != "cpu" and self.local_size > 1:
            what = f"{device!r} is one device for {self.local_size} processes"
            raise SettingError("device", what, "use auto or cuda")
        cores = max(1, usable_cores() // self.local_size)
        update = {"device": device, "jobs": runtime.jobs or cores, "threads": runtime.threads or cores}
        return runtime.model_copy(update=update)

    def local_batch_size(self, batch: int) -> int:
        """Number of images of a global batch that this rank works on. No collective.

        Raises SettingError if the batch cannot be split evenly.
        """
        if batch % self.size:
            what = f"a batch of {batch} cannot be shared evenly by {self.size} processes"
            raise SettingError("batch", what, "change one of them")
        return batch // self.size

    def all_reduce_sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of a CPU tensor over all ranks, on every rank; overwrites the argument."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(values)
        return values

    def all_reduce_max(self, value: int) -> int:
        """The maximum of an integer over all ranks, on every rank."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed as dist

        maximum = torch.tensor(value, dtype=torch.int64)
        dist.all_reduce(maximum, dist.ReduceOp.MAX)
        return int(maximum)

    def broadcast_bytes(self, data: bytes | None) -> bytes | None:
        """Rank 0's data, on every rank; the argument of the others is ignored."""
        if self.size == 1:
            return data
        import numpy as np
        import torch
        import torch.distributed as dist

        size = torch.tensor(-1 if data is None else len(data), dtype=torch.int64)
        dist.broadcast(size, 0)
        if size < 0:
            return None
        buffer = torch.empty(int(size), dtype=torch.uint8)
        if data is not None and self.is_rank0:
            buffer.copy_(torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy()))
        dist.broadcast(buffer, 0)
        return buffer.numpy().tobytes()

    def broadcast_tensors(self, tensors: list[torch.Tensor]) -> None:
        """Overwrite floating-point tensors of one type and device with those of rank 0."""
        if self.size == 1 or not tensors:
            return
        import torch
        import torch.distributed as dist

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.broadcast(flat, 0)
        for tensor, value in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(value.view(tensor.shape))

    def asked_to_stop(self, stop: StopFlag) -> int:
        """The signal that any rank has received, 0 = none; the same result on every rank."""
        return self.all_reduce_max(stop.signum or 0 if stop() else 0)

    def check(self, stop: StopFlag) -> None:
        """Raise Stopped on every rank if any rank has been asked to stop."""
        signum = self.asked_to_stop(stop)
        if signum:
            raise Stopped(signum)

    def counter(self, name: str) -> Counter:
        """The job's counter of this name, initially 0. No collective."""
        return Counter(self.store, f"counter/{name}")

    def barrier(self, stop: StopFlag, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until all ranks are here, however long their work takes, and call `meanwhile` repeatedly.

        Raises Stopped, and RuntimeError at once if a rank dies.
        """
        if self.size == 1:
            return
        import torch.distributed as dist

        arrival = dist.barrier(self.barrier_group, async_op=True)
        while not arrival.is_completed():
            stop.check()
            meanwhile()
            time.sleep(_POLL_SECONDS)
        arrival.wait()
        meanwhile()

    def send(self, number: int, message: bytes | None) -> None:
        """On rank 0: send message `number` to all other ranks; None = it is the last one. No collective."""
        if self.size > 1:
            self.store.set(f"message/{number}", _NO_MESSAGE if message is None else message)

    def receive(self, number: int, stop: StopFlag) -> bytes | None:
        """On other ranks: wait for message `number`, without a time limit. Raises Stopped. No collective."""
        while not self.store.check([f"message/{number}"]):
            stop.check()
            time.sleep(_POLL_SECONDS)
        message: bytes = self.store.get(f"message/{number}")
        return None if message == _NO_MESSAGE else message

    def claim_first_failure(self) -> bool:
        """Whether this rank is the first one to fail. No collective."""
        try:
            return self.size == 1 or self.store.add("failures", 1) == 1
        except RuntimeError:  # the process that holds the store has ended
            return True


SINGLE_PROCESS = ProcessGroup()


def from_env(environ: Mapping[str, str]) -> ProcessGroup:
    """The process group that torchrun's variables describe, not connected yet; without them a single process."""
    if "TORCHELASTIC_RUN_ID" not in environ or environ.get("WORLD_SIZE") == "1":
        return SINGLE_PROCESS
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    for name in (*names, "MASTER_PORT"):
        if not re.fullmatch(r"[0-9]{1,9}", environ.get(name, "")):
            raise ConfigError(name, f"is {environ.get(name)!r}, not a number as torchrun sets it", _BY_TORCHRUN)
    if not environ.get("MASTER_ADDR"):
        raise ConfigError("MASTER_ADDR", "is not set", _BY_TORCHRUN)
    rank, size, local_rank, local_size = (int(environ[name]) for name in names)
    if not (rank < size and local_rank < local_size <= size):
        what = f"{rank}, {size}, {local_rank}, {local_size} do not fit together"
        raise ConfigError(", ".join(names), what, _BY_TORCHRUN)
    refuse_other_machine("MASTER_ADDR", environ["MASTER_ADDR"], by_name=local_size == size)
    return ProcessGroup(rank, size, local_rank, local_size)


@contextmanager
def init(stop: StopFlag) -> Iterator[ProcessGroup]:
    """Connect this process to the ranks of its job.

    A job reports one error: the first AutolabelError of any rank passes, all others and Stopped become AlreadyReported.
    """
    world = from_env(os.environ)
    if world.size == 1:
        yield world
        return
    PLATFORM.die_with_parent()
    try:
        world = _connected(world)
        yield world
    except AutolabelError as error:
        if world.claim_first_failure():
            raise
        raise AlreadyReported(error.exit_code) from error
    except Stopped as stopped:
        raise AlreadyReported(128 + stopped.signum) from stopped
    except RuntimeError as error:
        if not _is_lost_peer(error):
            raise
        raise _lost_peer(world, error, stop) from error


def _connected(world: ProcessGroup) -> ProcessGroup:
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    try:
        store, _, _ = next(rendezvous("env://", timeout=_RENDEZVOUS_TIMEOUT))
    except (dist.DistError, ValueError, OSError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        what = f"rank {world.rank} did not find the job's first process ({str(error).splitlines()[0]})"
        raise ConfigError(where, what, _BY_TORCHRUN) from error
    # With --max-restarts torchrun starts all ranks again but keeps the store, with keys of the earlier attempt.
    store = dist.PrefixStore(f"attempt/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    group = dist.PrefixStore("group", store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=group, rank=world.rank, world_size=world.size, timeout=_COLLECTIVE_TIMEOUT)
    barrier_group = dist.new_group(backend="gloo", timeout=_BARRIER_TIMEOUT)
    keys = dist.PrefixStore("autolabel", store)
    return ProcessGroup(world.rank, world.size, world.local_rank, world.local_size, keys, barrier_group)


def _is_lost_peer(error: RuntimeError) -> bool:
    """Whether another rank has gone. gloo raises RuntimeErrors that name its source files, the rest has a class."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "/gloo/" in str(error)


def _lost_peer(world: ProcessGroup, error: RuntimeError, stop: StopFlag) -> Exception:
    """The error after a lost peer: silent if another rank reports it or the launcher stops this one in a moment."""
    end = time.monotonic() + _GRACE_SECONDS
    while time.monotonic() < end and not stop():
        time.sleep(_POLL_SECONDS)
    if stop() or not world.claim_first_failure():
        return AlreadyReported(1)
    what = f"lost contact with another rank ({str(error).splitlines()[0]})"
    return AutolabelError(f"rank {world.rank}", what, "run the same command again")
