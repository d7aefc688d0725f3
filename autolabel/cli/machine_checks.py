"""The checks of `autolabel doctor`: the machine, and what the store needs from the file system of the work folder.

Each check says what it found and what to do about it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from autolabel.errors import AutolabelError
from autolabel.hardware import usable_cores
from autolabel.platforms import NO_LINKS, PLATFORM
from autolabel.store import hold_lock, make_folder, open_draft, write_file


@dataclass(frozen=True)
class Check:
    """`remedy` says what to do if the check is not `ok`."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def check_machine(work: Path) -> list[Check]:
    """Run all checks; `work` need not exist yet."""
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
    """A torchvision built for another torch breaks the imports of other libraries; autolabel never needs it."""
    if importlib.util.find_spec("torchvision") is None:
        return Check("torchvision", True, "not installed, not needed")
    try:
        module = importlib.import_module("torchvision")
    except Exception as error:  # a broken build may raise anything
        remedy = "uninstall it, or install the build that matches torch"
        return Check("torchvision", False, f"installed but broken: {error}".splitlines()[0], remedy)
    return Check("torchvision", True, str(module.__version__))


def _cores() -> Check:
    return Check("cores", True, f"{usable_cores()} usable")


def _shared_memory() -> Check:
    path = Path("/dev/shm")
    if not path.is_dir():
        return Check("/dev/shm", True, "missing: several GPUs of one machine may need it to train together")
    free = shutil.disk_usage(path).free
    found = f"{free / 1e9:.1f} GB free"
    return Check("/dev/shm", free > 64e6, found, "several GPUs may need it to train together (NCCL): enlarge it")


def _self_test(base: Path) -> Check:
    """Write, lock, read back and decode a label with the code that the stages use."""
    import numpy as np

    from autolabel.labels import png
    from autolabel.store import hold_lock, write_file

    label = (np.arange(64 * 48).reshape(48, 64) % 256).astype(np.uint8)
    try:
        with tempfile.TemporaryDirectory(dir=base) as folder:
            with hold_lock(Path(folder) / "lock"):
                write_file(Path(folder) / "label.png", png.encode(label))
            same = np.array_equal(png.decode((Path(folder) / "label.png").read_bytes()), label)
    except Exception as error:  # any failure here is the finding
        return Check("self-test", False, f"{type(error).__name__}: {error}", f"check the file system at {base}")
    return Check("self-test", same, "a label was written, locked, read back and decoded" if same else "bytes differ")


LOW_DISK_BYTES = 1e9  # bytes; any real run needs more
LOW_FILE_COUNT = 10_000  # files
OTHER_PLACE = "use another --work, on a local disk"
KEY = "0" * 64
LOCK_SCRIPT = """
import os, sys
from autolabel.platforms import PLATFORM
try:
    PLATFORM.lock(os.open(sys.argv[1], os.O_RDWR))
except BlockingIOError:
    sys.exit(75)
"""


def check_disk(base: Path) -> list[Check]:
    """Run each check by itself in a scratch folder below `base`, which is deleted afterwards."""
    checks = [_disk_space(base), _files(base)]
    with ExitStack() as stack:
        try:
            scratch = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(dir=base, prefix=".autolabel-doctor-", ignore_cleanup_errors=True)
                )
            )
        except OSError as error:
            what = f"nothing can be written in {base}: {error.strerror}"
            return [
                *checks,
                Check("writable", False, what, "check its permissions and its space, or use another --work"),
            ]
        return [*checks, *(_run_test(name, scratch / name, check) for name, check in DISK_TESTS.items())]


def _disk_space(base: Path) -> Check:
    try:
        free = shutil.disk_usage(base).free
    except OSError as error:
        return Check("disk", False, f"{base}: {error.strerror}", OTHER_PLACE)
    return Check(
        "disk", free > LOW_DISK_BYTES, f"{free / 1e9:.1f} GB free at {base}", "free some space, or use another --work"
    )


def _files(base: Path) -> Check:
    """Some file systems (ext4) hold a fixed number of files; the others report 0."""
    if not hasattr(os, "statvfs"):  # Windows
        return Check("files", True, "no fixed number")
    try:
        about = os.statvfs(base)
    except OSError as error:
        return Check("files", False, f"{base}: {error.strerror}", OTHER_PLACE)
    if not about.f_files:
        return Check("files", True, "no fixed number")
    found = f"{about.f_favail:,} more can be made at {base}"
    return Check("files", about.f_favail > LOW_FILE_COUNT, found, "delete files there, or use another --work")


def _run_test(name: str, folder: Path, check: Callable[[Path], Check]) -> Check:
    try:
        make_folder(folder)
        return check(folder)
    except AutolabelError as error:
        return Check(name, False, error.what, error.remedy)
    except OSError as error:
        return Check(name, False, error.strerror or str(error), OTHER_PLACE)


def _lock(folder: Path) -> Check:
    """Try the lock in a second process: some network file systems lock on one machine only, or pretend to lock."""
    file = folder / "lock"
    with hold_lock(file):
        held = subprocess.run([sys.executable, "-c", LOCK_SCRIPT, str(file)], capture_output=True, check=False)
    free = subprocess.run([sys.executable, "-c", LOCK_SCRIPT, str(file)], capture_output=True, check=False)
    works = (held.returncode, free.returncode) == (75, 0)
    found = "a lock (flock) shuts out a second process" if works else "a lock (flock) does not stop a second process"
    return Check("lock", works, found, f"never start two runs on this work folder, or {OTHER_PLACE}")


def _rename(folder: Path) -> Check:
    """Rename a file over another, as every write does, and a folder, as every commit does."""
    for data in (b"old", b"new"):
        write_file(folder / "file", data)
    draft = open_draft(folder, KEY)
    draft.write("x", b"x")
    artefact = draft.commit(meta={}, provenance={})
    whole = (folder / "file").read_bytes() == b"new" and not artefact.verify(full=True)
    left = [path.name for path in folder.iterdir() if path.name not in ("file", artefact.path.name)]
    found = "files replace files and folders are published in one step" if whole else "a rename left something else"
    return Check("rename", whole and not left, found, OTHER_PLACE)


def _fsync_works(folder: Path) -> Check:
    """Sync a file, and the folder that holds its name."""
    write_file(folder / "file", b"x")
    for kind, sync in (("files", _sync_file), ("folders", lambda path: PLATFORM.sync_folder(path.parent))):
        try:
            sync(folder / "file")
        except OSError as error:
            return Check("sync", False, f"{kind} cannot be made safe (fsync): {error.strerror}", OTHER_PLACE)
    return Check("sync", True, "files and folders can be made safe against a power cut (fsync)")


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _links(folder: Path) -> Check:
    """An existing name, and a symbolic link in place of a file, must be refused."""
    write_file(folder / "taken", b"x")
    with suppress(FileExistsError):
        os.close(os.open(folder / "taken", os.O_RDONLY | os.O_CREAT | os.O_EXCL))
        return Check("links", False, "a file that is there is made again (O_EXCL)", OTHER_PLACE)
    link = folder / "link"
    try:
        link.symlink_to("taken")
    except OSError:
        return Check("links", True, "there are no symbolic links here")
    with suppress(OSError):
        os.close(os.open(link, os.O_RDONLY | NO_LINKS))
        return Check("links", False, "a symbolic link is followed where it must not be (O_NOFOLLOW)", OTHER_PLACE)
    return Check("links", True, "taken names and symbolic links are refused")


def _names(folder: Path) -> Check:
    """A note only: autolabel's file names never depend on case or on a Unicode form."""
    write_file(folder / "Case", b"")
    composed = unicodedata.normalize("NFC", "e\u0301")
    write_file(folder / composed, b"")
    same_case = (folder / "case").exists()
    same_form = (folder / unicodedata.normalize("NFD", composed)).exists()
    found = (
        f"case {'does not count' if same_case else 'counts'}, Unicode forms are {'one' if same_form else 'told apart'}"
    )
    return Check("names", True, f"{found}; either will do")


DISK_TESTS = {"lock": _lock, "rename": _rename, "sync": _fsync_works, "links": _links, "names": _names}
