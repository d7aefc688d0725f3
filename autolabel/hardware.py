"""The machine's resources: cores within the cgroup's limit, and the device to compute on."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.errors import AutolabelError, SettingError

if TYPE_CHECKING:
    import torch

DEVICES_REMEDY = "use auto, cpu, cuda, cuda:N or mps"
_RECLAIMABLE = ("inactive_file", "active_file", "slab_reclaimable")  # in memory.stat of a cgroup
_LEAST_ADDRESSES = 2**30  # bytes; with fewer, libraries may crash while they are loaded, without a word
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def usable_cores() -> int:
    """Number of cores this process may use: its affinity mask, limited by the cgroup's quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # without cgroup v2 only the affinity mask counts
    return max(1, cores)


def resolve_device(name: str) -> str:
    """The device to use: `auto` is CUDA if available, else the CPU. Raises SettingError if there is no such device.

    An Apple GPU (`mps`) must be named: nobody has measured it yet.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingError("device", f"{name!r} is no device", DEVICES_REMEDY) from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise SettingError("device", f"{name!r} is not supported", DEVICES_REMEDY)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingError("device", "'mps' is not on this machine", "use --device cpu")
    # device.index is a byte, which would turn cuda:256 into cuda:0.
    if device.type == "cuda" and int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise SettingError("device", f"{name!r} is not on this machine", "use --device cpu")
    return name


def training_device(name: str) -> str:
    """The device of a training: on an Apple GPU it is the CPU, for losses are summed in float64, which MPS lacks."""
    device = resolve_device(name)
    return "cpu" if device == "mps" else device


def device_kind(name: str) -> str:
    """The device by what its arithmetic depends on: the instructions of a CPU, the model of a GPU."""
    import torch

    device = torch.device(resolve_device(name))
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type == "mps":
        return "mps"
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Make a CUDA device the current one of this thread; nothing for a CPU.

    Triton kernels, recordings of CUDA graphs and pinned memory take no device: they use the current one, which in a new
    thread is the first GPU.
    """
    import torch

    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def pin_threads(threads: int) -> None:
    """Set torch's number of threads, 0 = all usable cores. Bitwise equal results need equal numbers."""
    import torch

    torch.set_num_threads(threads or usable_cores())


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step of a training, instead of returning it to the system.

    A step on a CPU allocates and frees the same large tensors again and again. Clearing new pages for them takes much
    of its time. Other C libraries are left as they are.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def allow_mps_fallback() -> None:
    """Let torch do on the CPU the operations that it lacks on Apple GPUs; call this before torch is imported."""
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")


def limit_openmp_spin() -> None:
    """Limit how long idle OpenMP threads spin; call this before torch is imported.

    Small networks on a CPU pass thousands of barriers per second. By default threads spin there for milliseconds. When
    other processes need the cores, this takes over ten times as long as the work itself.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "500")


def return_freed_tables() -> None:
    """Let Arrow give the memory of freed tables back to the system; call this before pyarrow is imported.

    Its own allocator keeps what it has freed: 25 MB with tables of 10,000 rows.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def free_memory() -> int:
    """Bytes that this process may still take: within the machine's, the container's and its own limits (`ulimit -v`).

    Swap counts as memory. A huge number where the system tells nothing.
    """
    return max(0, min((_system_memory(), *_container_memory(), *_left_by_limits().values())))


def _system_memory() -> int:
    found = _numbers("/proc/meminfo")
    return 1024 * (found["MemAvailable"] + found.get("SwapFree", 0)) if "MemAvailable" in found else sys.maxsize


def _container_memory(root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """The free bytes of the cgroup, versions 2 and 1. The caches of files and of the kernel can be dropped."""
    old = "memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"
    for limit, used in (("memory.max", "memory.current"), old):
        with suppress(OSError, ValueError):
            stat = _numbers(str((root / limit).parent / "memory.stat"))
            cache = sum(stat.get(f"total_{name}", stat.get(name, 0)) for name in _RECLAIMABLE)
            yield int((root / limit).read_text()) - int((root / used).read_text()) + cache


def _left_by_limits() -> dict[str, int]:
    """The bytes that each limit of this process leaves, by the option of `ulimit` that sets it."""
    used, left = _numbers("/proc/self/status"), {}
    for option, limit, name in (("-v", "RLIMIT_AS", "VmSize"), ("-d", "RLIMIT_DATA", "VmData")):
        most = _limit(limit)
        if most is not None and name in used:
            left[option] = most - 1024 * used[name]
    return left


def narrowest_limit() -> str | None:
    """The limit that leaves this process less than machine and container do, as "ulimit -v"; None without one."""
    others = min((_system_memory(), *_container_memory()))
    left = {size: option for option, size in _left_by_limits().items() if size < others}
    return f"ulimit {left[min(left)]}" if left else None


def require_addresses() -> None:
    """AutolabelError where `ulimit -v` leaves this process less than 1 GiB of addresses."""
    most = _limit("RLIMIT_AS")
    if most is not None and most < _LEAST_ADDRESSES:
        what = f"limits this process to {most // 2**20} MiB of addresses, and its libraries need more than 1 GiB"
        raise AutolabelError("ulimit -v", what, "raise it, as in `ulimit -v unlimited`")


def _limit(name: str) -> int | None:
    """A limit of this process in bytes; None where there is none, as on Windows."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrlimit(getattr(resource, name))[0]
    return None if most == resource.RLIM_INFINITY else most


def _numbers(file: str) -> dict[str, int]:
    """The first number behind each word that starts a line; empty if there is no such file."""
    found = {}
    with suppress(OSError):
        for line in Path(file).read_text(errors="replace").splitlines():
            name, *values = line.replace(":", " ").split()
            if values and values[0].isdecimal():
                found[name] = int(values[0])
    return found
