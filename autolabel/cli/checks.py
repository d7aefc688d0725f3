"""What `doctor` checks; each check says what was found and what to do about it."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from autolabel.cli.check import Check
from autolabel.cli.disk_checks import check_disk
from autolabel.machine import usable_cores


def check_machine(work: Path) -> list[Check]:
    """All checks; `work` need not exist yet."""
    base = next(folder for folder in (work, *work.parents) if folder.is_dir())
    checks: list[Callable[[], Check]] = [
        _python,
        _torch,
        _torchvision,
        _cores,
        _shared_memory,
    ]
    return [*(check() for check in checks), *check_disk(base), _self_test(base)]


def _python() -> Check:
    return Check("python", sys.version_info >= (3, 11), platform.python_version(), "use Python 3.11 or newer")


def _torch() -> Check:
    try:
        import torch
    except ImportError as error:
        return Check("torch", False, str(error), "pip install torch")
    if not torch.cuda.is_available():
        return Check("torch", True, f"{torch.__version__}, no CUDA device: everything runs on the CPU")
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return Check("torch", True, f"{torch.__version__}, {names}")


def _torchvision() -> Check:
    """A torchvision built for another torch breaks other libraries' imports; autolabel itself never needs it."""
    if importlib.util.find_spec("torchvision") is None:
        return Check("torchvision", True, "not installed, not needed")
    try:
        module = importlib.import_module("torchvision")
    except Exception as error:  # a broken build raises whatever its extension raises
        remedy = "uninstall it, or install the build that matches torch"
        return Check("torchvision", False, f"installed but broken: {error}".splitlines()[0], remedy)
    return Check("torchvision", True, str(module.__version__))


def _cores() -> Check:
    return Check("cores", True, f"{usable_cores()} usable")


def _shared_memory() -> Check:
    path = Path("/dev/shm")
    if not path.is_dir():
        return Check("/dev/shm", True, "absent: GPUs of one machine may need it to train together")
    free = shutil.disk_usage(path).free
    found = f"{free / 1e9:.1f} GB free"
    return Check("/dev/shm", free > 64e6, found, "GPUs that train together may need it (NCCL): enlarge it")


def _self_test(base: Path) -> Check:
    """Write, lock, read back and decode a label through the same code the stages use."""
    import numpy as np

    from autolabel.labels import png
    from autolabel.store import hold, write_file

    label = (np.arange(64 * 48).reshape(48, 64) % 256).astype(np.uint8)
    try:
        with tempfile.TemporaryDirectory(dir=base) as folder:
            with hold(Path(folder) / "lock"):
                write_file(Path(folder) / "label.png", png.encode(label))
            same = np.array_equal(png.decode((Path(folder) / "label.png").read_bytes()), label)
    except Exception as error:  # whatever fails here is the finding
        return Check("self-test", False, f"{type(error).__name__}: {error}", f"check the file system at {base}")
    return Check("self-test", same, "a label was written, locked, read back and decoded" if same else "bytes differ")
