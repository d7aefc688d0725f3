"""The processes (ranks) that work on one step together, as torchrun starts them; a process by itself is a world of one.

Rank 0 alone holds the lock, writes and prints; it tells the others which step to take part in (`flow.following`).
Every method is a collective unless it says otherwise: all ranks call it, in the same order. In a world of one all of
them are free.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from autolabel.config.schema import RuntimeConfig
from autolabel.errors import AlreadyReported, AutolabelError, SettingError
from autolabel.hardware import resolve_device, usable_cores
from autolabel.signals import StopFlag, Stopped

if TYPE_CHECKING:
    import torch

_HANG = timedelta(minutes=30)  # a collective that takes longer ends the job; a rank that dies does so at once
_PATIENCE = timedelta(days=2)  # the same where ranks meet after work of their own, which may take long
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 5.0
_NO_MESSAGE = b"\0"


class Counter:
    """A number that all ranks add to, each from one thread, and see at any time: no collective."""

    def __init__(self, store: Any, name: str) -> None:
        self._store, self._name, self._own = store, name, 0

    def add(self, amount: int) -> int:
        """The sum of all that has been added so far, this included."""
        if self._store is None:
            self._own += amount
            return self._own
        return int(self._store.add(self._name, amount))


@dataclass(frozen=True)
class ProcessGroup:
    """`local_*`: among the ranks of this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    store: Any = None  # torch.distributed.Store: keys and counters that all ranks see; None in a world of one
    meeting: Any = None  # torch.distributed.ProcessGroup for `meet`; None in a world of one

    @property
    def is_rank0(self) -> bool:
        return self.rank == 0

    def runtime_for_rank(self, runtime: RuntimeConfig) -> RuntimeConfig:
        """What of the machine is this rank's: one CUDA device, its share of the cores. No collective."""
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
        """Number of images of a global batch that this rank takes. No collective.

        Raises SettingError where the ranks cannot share it evenly.
        """
        if batch % self.size:
            what = f"a batch of {batch} cannot be shared evenly by {self.size} processes"
            raise SettingError("batch", what, "change one of them")
        return batch // self.size

    def all_reduce_sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over ranks of a CPU tensor, on every rank; the argument is overwritten."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(values)
        return values

    def all_reduce_max(self, value: int) -> int:
        if self.size == 1:
            return value
        import torch
        import torch.distributed as dist

        found = torch.tensor(value, dtype=torch.int64)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def broadcast_bytes(self, data: bytes | None) -> bytes | None:
        """What rank 0 gives; the others' argument is ignored."""
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
        """The signal that any rank has got, 0 if none: the same answer on all of them."""
        return self.all_reduce_max(stop.signum or 0 if stop() else 0)

    def check(self, stop: StopFlag) -> None:
        """Raise Stopped on every rank where any has been asked to stop."""
        signum = self.asked_to_stop(stop)
        if signum:
            raise Stopped(signum)

    def counter(self, name: str) -> Counter:
        """Starts at 0 the first time that a job asks for the name. No collective."""
        return Counter(self.store, f"counter/{name}")

    def barrier(self, stop: StopFlag, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until all ranks are here, however long their work takes; calls `meanwhile` over and over.

        Raises Stopped; ends at once where a rank dies.
        """
        if self.size == 1:
            return
        import torch.distributed as dist

        arrival = dist.barrier(self.meeting, async_op=True)
        while not arrival.is_completed():
            stop.check()
            meanwhile()
            time.sleep(_POLL_SECONDS)
        arrival.wait()
        meanwhile()

    def send(self, number: int, message: bytes | None) -> None:
        """Rank 0: the `number`-th message to the others; None = there will be no more. No collective."""
        if self.size > 1:
            self.store.set(f"message/{number}", _NO_MESSAGE if message is None else message)

    def receive(self, number: int, stop: StopFlag) -> bytes | None:
        """The others: wait for the `number`-th message, for as long as rank 0 needs. No collective."""
        while not self.store.check([f"message/{number}"]):
            stop.check()
            time.sleep(_POLL_SECONDS)
        message: bytes = self.store.get(f"message/{number}")
        return None if message == _NO_MESSAGE else message

    def claim_first_failure(self) -> bool:
        """Whether no rank has failed before. No collective."""
        try:
            return self.size == 1 or self.store.add("failures", 1) == 1
        except RuntimeError:  # the store has gone with its process
            return True


SINGLE_PROCESS = ProcessGroup()


def from_env(environ: Mapping[str, str]) -> ProcessGroup:
    """What torchrun says in the environment of its processes, before they have met; otherwise a world of one."""
    if "TORCHELASTIC_RUN_ID" not in environ or int(environ["WORLD_SIZE"]) == 1:
        return SINGLE_PROCESS
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return ProcessGroup(*(int(environ[name]) for name in names))


@contextmanager
def init(stop: StopFlag) -> Iterator[ProcessGroup]:
    """The world that this process belongs to, once all of its ranks are there.

    One line for the whole job: of what the ranks raise the first AutolabelError passes; the rest, and being stopped,
    become AlreadyReported.
    """
    world = from_env(os.environ)
    if world.size == 1:
        yield world
        return
    _die_with_parent()
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

    store, _, _ = next(rendezvous("env://"))
    # With --max-restarts torchrun starts all ranks again and keeps the store: what the dead have left there misleads.
    store = dist.PrefixStore(f"attempt/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    group = dist.PrefixStore("group", store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=group, rank=world.rank, world_size=world.size, timeout=_HANG)
    meeting = dist.new_group(backend="gloo", timeout=_PATIENCE)
    ours = dist.PrefixStore("autolabel", store)
    return ProcessGroup(world.rank, world.size, world.local_rank, world.local_size, ours, meeting)


def _is_lost_peer(error: RuntimeError) -> bool:
    """gloo raises plain RuntimeErrors, which name its source files; all else of torch.distributed has a class."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "/gloo/" in str(error)


def _lost_peer(world: ProcessGroup, error: RuntimeError, stop: StopFlag) -> Exception:
    """Whoever started this rank ends it in a moment if another one here has failed, and says so: then be silent."""
    end = time.monotonic() + _GRACE_SECONDS
    while time.monotonic() < end and not stop():
        time.sleep(_POLL_SECONDS)
    if stop() or not world.claim_first_failure():
        return AlreadyReported(1)
    reason = str(error).splitlines()[0]
    return AutolabelError(f"rank {world.rank}", f"lost contact with another ({reason})", "run the same command again")


def _die_with_parent() -> None:
    """SIGKILL when the launcher dies, however it does: nobody else would end this process. Linux only."""
    import ctypes

    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
