"""What this machine gives us: cores within the cgroup's limit, and the device to compute on."""

from __future__ import annotations

import os
from pathlib import Path

from autolabel.errors import SettingError


def usable_cores() -> int:
    """Cores this process may use: its affinity mask, cut to the cgroup's quota (containers), at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2: the affinity mask is all there is
    return max(1, cores)


def resolve_device(name: str) -> str:
    """`auto` -> the first CUDA device, else cpu; anything else must exist."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingError("device", f"{name!r} is no device", "use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise SettingError("device", f"{name!r} is not supported", "use auto, cpu, cuda or cuda:N")
    # Not device.index, which is a byte: cuda:256 would be cuda:0.
    if device.type == "cuda" and int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise SettingError("device", f"{name!r} is not on this machine", "use --device cpu")
    return name


def pin_threads(threads: int) -> None:
    """Fix torch's thread count: results are reproducible bit for bit only with the same number (0 = all cores)."""
    import torch

    torch.set_num_threads(threads or usable_cores())


def limit_openmp_spin() -> None:
    """Keep idle OpenMP threads from spinning; call before torch is imported.

    Small networks on a CPU pass thousands of barriers a second. By default threads spin there for milliseconds; where
    anything else wants the cores, that costs over ten times the time of the work itself.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "500")
