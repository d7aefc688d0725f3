"""A tiny experiment whose steps are all done, and the real command line let loose on copies of its work folder."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from autolabel.store import Artefact, WorkFolderItem, scan
from tests.faults import warm
from tests.helpers.experiments import NARROW, ONE_CORE, experiment_toml, scenes
from tests.helpers.hang import HANG_SECONDS

EXPERIMENT = {
    "name": "faults",
    "data": scenes(48, 80, fine=2, coarse=4, val=2),
    "teacher": {
        "crop": [32, 48],
        "batch": 2,
        "epochs": 1,
        "epoch_images": 8,
        "class_uniform": 0.0,
        "tile": 32,
        "ema": 0.9,
        "checkpoint_every": 1,
        "validate_every": 0,
        "model": {"trunk": "resnet_tiny", **NARROW},
    },
    "infer": {"scales": [1.0], "chunk": 1},
    "label": {"threshold": 0.4, "coarse": "fill"},
    "student": {
        "crop": [32, 48],
        "batch": 2,
        "epochs": 1,
        "epoch_images": 2,
        "tile": 32,
        "model": {"trunk": "resnet_tiny", **NARROW},
    },
    "evaluate": {"scales": [1.0]},
    "runtime": {**ONE_CORE, "jobs": 2},
}

Names = frozenset[str]
Digests = dict[str, str]
Process = subprocess.Popen[str] | warm.Process


class Workshop:
    """`file`: the experiment; `work`: a work folder with its steps done; `digests`: of their artefacts, by step."""

    def __init__(self, folder: Path, *, start: Path | None = None, warmed: bool = False) -> None:
        """`start`: a work folder with steps that are done already.

        `warmed`: `start` and `call` fork this process, which has to be a new one and imports what they need.
        """
        self.file, self.work, self.warmed = folder / "faults.toml", folder / "work", warmed
        folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text(experiment_toml(EXPERIMENT))
        if start is None:
            code, said = self._first_run(folder / "modules")
            assert code == 0, said
        else:
            shutil.copytree(start, self.work)
        self.digests, self.names = digests(self.work), names(self.work)

    def part(self, folder: Path, steps: Sequence[str]) -> Workshop:
        """The same with these steps alone."""
        others = [path.name for path in (self.work / "artefacts").iterdir() if path.name not in steps]
        return Workshop(folder / "part", start=self.copy(folder / "start", without=others), warmed=self.warmed)

    def _first_run(self, modules: Path) -> tuple[int, list[str]]:
        if not self.warmed:
            return call(self.command("run", self.work))
        warm.import_all()
        result = ended(warm.Process(self.command("run", self.work), list_modules=modules, new_session=True))
        warm.import_listed(modules)
        return result

    def start(self, command: Sequence[str], *, new_session: bool = False) -> Process:
        """A process of the real command line, which has imported everything beforehand if this is `warmed`."""
        if self.warmed:
            return warm.Process(command, new_session=new_session)
        return start(command, new_session=new_session)

    def call(self, command: Sequence[str]) -> tuple[int, list[str]]:
        """Exit code and lines on stderr, as of the function `call`."""
        return ended(self.start(command, new_session=True))

    def command(self, name: str, work: Path, *options: str) -> list[str]:
        return [sys.executable, "-m", "autolabel", name, str(self.file), "--work", str(work), "-q", *options]

    def copy(self, target: Path, *, without: Sequence[str] = ()) -> Path:
        """The work folder with some steps not made yet."""
        left_out = {self.work / "artefacts" / step for step in without}

        def ignore(folder: str, entries: list[str]) -> set[str]:
            return {entry for entry in entries if Path(folder) / entry in left_out}

        return Path(shutil.copytree(self.work, target, ignore=ignore))

    def differences(self, work: Path) -> Iterator[str]:
        """How a work folder differs from this one: digests of steps, names of files."""
        found, present = digests(work), names(work)
        yield from (f"other digest of {step}" for step in self.digests if found.get(step) != self.digests[step])
        if present != self.names:
            yield f"left over {sorted(present - self.names)[:3]}, missing {sorted(self.names - present)[:3]}"


def digests(work: Path) -> Digests:
    return {found.node: Artefact.open(found.path).digest for found in committed(work)}


def names(work: Path) -> Names:
    return frozenset(path.relative_to(work).as_posix() for path in work.rglob("*"))


def damage(work: Path) -> list[str]:
    """Check everything that looks committed (P1)."""
    return [f"{f.node}: {line}" for f in committed(work) for line in Artefact.open(f.path).verify(full=True)]


def committed(work: Path) -> Iterator[WorkFolderItem]:
    return (found for found in scan(work / "artefacts") if found.kind == "committed")


def call(command: Sequence[str], *, cwd: Path | None = None) -> tuple[int, list[str]]:
    """Exit code and lines on stderr; a hang is killed and looks like SIGKILL with a line of ours."""
    return ended(start(command, cwd=cwd, new_session=True))


def start(command: Sequence[str], *, cwd: Path | None = None, new_session: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=new_session,
    )


def ended(process: Process) -> tuple[int, list[str]]:
    """Exit code and lines on stderr."""
    try:
        _, said = process.communicate(timeout=HANG_SECONDS)
    except subprocess.TimeoutExpired:
        if isinstance(process, subprocess.Popen):
            process.kill()
            process.communicate()
        return -signal.SIGKILL, [f"HANGS after {HANG_SECONDS} s"]
    assert process.returncode is not None
    return process.returncode, said.splitlines()


def one_line(said: Sequence[str]) -> bool:
    """The checks of a failing command: one line, the right exit code."""
    return len(said) == 1 and said[0].startswith("autolabel: ")
