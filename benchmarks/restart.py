"""The cost of a restart on many small images: CPU seconds of `status`, and of infer until its next chunk is durable.

    python benchmarks/restart.py [--json] [--images 20000] [--share 0.9] [--folder DIR]
                                 [--manifest-only | --tables-only]

Makes a folder of JPEGs of 64 x 48, builds the manifest, trains a teacher for one step, and lets infer run until a share
of its chunks is done; then kills it with SIGKILL. `status` and `infer` are then the real program in a process of its
own. `restart.cpu_seconds` counts from the process's start to the next row in the journal, less what importing torch
takes. Then infer, label and fuse are finished, evaluate measures the teacher, and `status` is asked again.
`peak_megabytes` is the largest resident memory of a command. With `--folder` the images are kept and used again. With
`--manifest-only` nothing is trained: 100,000 images then take two CPU minutes. With `--tables-only` infer writes codes
that cost nothing, so that 100,000 images take six; the other stages are as ever.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _one_step import TEACHER
from PIL import Image

EXPERIMENT = """
name = "restart"
[data]
source = "folder"
root = "{root}"
{teacher}[infer]
scales = [1.0]
[runtime]
device = "cpu"
threads = 1
jobs = 2
"""
FINE = 20  # images with a mask
_TICKS = os.sysconf("SC_CLK_TCK")


def make_images(root: Path, number: int) -> None:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "classes.toml").write_text('names = ["a", "b", "c"]')
    for index in range(number):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        coarse.resize((64, 48), Image.Resampling.BILINEAR).save(root / "images" / f"{index:06}.jpg")
        if index < FINE:
            Image.fromarray(rng.integers(0, 3, (48, 64), np.uint8)).save(root / "masks" / f"{index:06}.png")


class Project:
    def __init__(self, folder: Path, number: int) -> None:
        self.file, self.work = folder / "restart.toml", folder / "work"
        self.file.write_text(EXPERIMENT.format(teacher=TEACHER, root=folder / "data"))
        self.num_chunks = -(-(number - FINE) // 32) + 1

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "autolabel", *words, *self._where]

    def faked(self, *words: str) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("_fake_codes.py")), *words, *self._where]

    @property
    def _where(self) -> list[str]:
        return [str(self.file), "--work", str(self.work)]

    def chunks_done(self) -> int:
        return sum(file.read_bytes().count(b"\n") for file in self.work.glob("artefacts/infer/*.partial/journal/*"))

    @contextmanager
    def infer_until(self, chunks: int) -> Iterator[int]:
        """Run infer in a process until N chunks are done, then kill it."""
        process = subprocess.Popen(self.command("infer", "-q"))
        try:
            while self.chunks_done() < chunks:
                assert process.poll() is None, f"infer ended with {process.returncode}"
                time.sleep(0.005)
            yield process.pid
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


class Cost(NamedTuple):
    cpu_seconds: float
    peak_megabytes: float

    def named(self, name: str) -> dict[str, float]:
        return {f"{name}.{key}": value for key, value in self._asdict().items()}


def cost(command: list[str]) -> Cost:
    """CPU seconds and largest resident memory of a process, with the children it has waited for."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    found = Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
    print(f"{' '.join(command[2:4]):32} {found.cpu_seconds:8.2f} s {found.peak_megabytes:8.0f} MB", file=sys.stderr)
    return found


def cpu_seconds(command: list[str]) -> float:
    return cost(command).cpu_seconds


def cpu_so_far(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def measure_manifest(project: Project) -> dict[str, float]:
    """The first command, which reads and hashes every image, and `status` after it."""
    result = cost(project.command("run", "--until=manifest", "-q")).named("manifest")
    best = min(cost(project.command("status")) for _ in range(3))
    return result | best.named("status_manifest")


def measure(project: Project, *, share: float) -> dict[str, float]:
    result = measure_manifest(project)
    result |= cost(project.command("teacher", "-q")).named("teacher")
    wanted = int(share * project.num_chunks)
    with project.infer_until(wanted):
        pass
    done = project.chunks_done()
    result["restart.chunks_done"] = done / project.num_chunks
    result["status.cpu_seconds"] = min(cpu_seconds(project.command("status")) for _ in range(3))
    torch_loaded = min(cpu_seconds([sys.executable, "-c", "import torch"]) for _ in range(3))
    with project.infer_until(done + 1) as pid:
        result["restart.cpu_seconds"] = cpu_so_far(pid) - torch_loaded
    for stage in ("infer", "label", "fuse"):
        result |= cost(project.command(stage, "-q")).named(stage)
    result |= cost(project.command("run", "--until=evaluate-teacher", "-q")).named("evaluate")
    result["status_done.cpu_seconds"] = min(cpu_seconds(project.command("status")) for _ in range(3))
    result["verify_done.cpu_seconds"] = cpu_seconds(project.command("verify"))
    return result


def measure_tables(project: Project) -> dict[str, float]:
    """Every stage whose memory could grow with the number of images, with codes that cost nothing."""
    result = measure_manifest(project)
    result |= cost(project.command("teacher", "-q")).named("teacher")
    result |= cost(project.faked("infer", "-q")).named("infer")
    result |= cost(project.command("label", "-q")).named("label")
    result |= min(cost(project.command("status")) for _ in range(3)).named("status_label")
    for stage in ("fuse", "audit"):
        result |= cost(project.command(stage, "-q")).named(stage)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--share", type=float, default=0.9, help="of the chunks that are done before the kill")
    parser.add_argument("--folder", type=Path, help="where the images are or go, kept; default: a temporary one")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--manifest-only", action="store_true", help="train nothing")
    only.add_argument("--tables-only", action="store_true", help="with codes that no network made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "data").is_dir():
            make_images(folder / "data", options.images)
        shutil.rmtree(folder / "work", ignore_errors=True)
        project = Project(folder, options.images)
        if options.manifest_only:
            result = measure_manifest(project)
        elif options.tables_only:
            result = measure_tables(project)
        else:
            result = measure(project, share=options.share)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:32} {value:8.2f}")


if __name__ == "__main__":
    main()
