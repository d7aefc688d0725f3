"""The tries of fault_memory.py: the command line in this process, with a fault planted in what it calls.

    python -m tests.faults.memory_at_work WORK FOLDER NUMBER SEED

`WORK` is the work folder of a workshop. Prints a JSON list of bad outcomes.
"""

from __future__ import annotations

import errno
import json
import math
import random
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import safetensors.torch
import torch
from click.testing import CliRunner

import autolabel.stages.computed_codes
import autolabel.stages.infer
from autolabel.artifacts import WEIGHTS
from autolabel.cli.main import cli
from autolabel.data.crops import CropDataset
from autolabel.errors import ImageError
from autolabel.inference.model import Upload
from autolabel.store import Artefact
from autolabel.training.trainer import Trainer
from tests.faults.workshop import Workshop, damage, digests, one_line

BATCH = 4
IN_BATCHES = (f"--set=infer.chunk={BATCH}", f"--set=runtime.infer_batch={BATCH}")
MAX_NAN = 3
STEPS = 12
TRAINING = ("--set=teacher.epochs=3", f"--set=teacher.max_nan={MAX_NAN}")

Said = tuple[int, list[str]]


class SmallGpu:
    """The teacher as if on a GPU that holds `fits` images, and sometimes fewer. Labels as on the CPU, one by one."""

    device = torch.device("cuda")
    upload = Upload(torch.device("cpu"))

    def __init__(self, teacher: Any, fits: int, rng: random.Random) -> None:
        self._teacher, self._fits, self._rng = teacher, fits, rng
        self.num_refused = 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self._fits or (len(images) > 1 and self._rng.random() < 0.2):
            self.num_refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.cat([self._teacher(image[None]) for image in images])

    def check_finite(self, image: torch.Tensor, codes: Any) -> None:
        self._teacher.check_finite(image, codes)


class Tries:
    def __init__(self, work: Path, folder: Path, seed: int) -> None:
        self.shop, self.work = Workshop(folder / "shop", start=work), folder / "work"
        self.rng = random.Random(seed)
        self.codes = self._clean("infer", *IN_BATCHES)
        self.weights = self._clean("teacher", *TRAINING)

    def _clean(self, step: str, *options: str) -> str:
        self._start(step)
        assert self._call(step, *options) == (0, []), step
        return digests(self.work)[step]

    def _start(self, step: str) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.shop.copy(self.work, without=[step])

    def _call(self, step: str, *options: str) -> Said:
        command = self.shop.command(step, self.work, *options)[3:]
        result = CliRunner().invoke(cli, command)
        said = result.stderr.splitlines()
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            said.append(f"raised {result.exception!r}")
        return result.exit_code, said

    def _heals(self, step: str, digest: str, *options: str) -> Iterator[str]:
        yield from damage(self.work)
        again = self._call(step, *options)
        if again != (0, []) or digests(self.work)[step] != digest:
            yield f"run again: {again}, digest {'right' if digests(self.work).get(step) == digest else 'wrong'}"

    def memory(self) -> Iterator[str]:
        """The batch is halved down to one image, labels stay; not even one fits: a line, and the next run heals."""
        self._start("infer")
        fits, gpus, make = self.rng.randint(0, BATCH), [], autolabel.stages.computed_codes._teacher

        def small(*args: Any) -> SmallGpu:
            gpus.append(SmallGpu(make(*args), fits, self.rng))
            return gpus[0]

        with mock.patch.object(autolabel.stages.computed_codes, "_teacher", small):
            code, said = self._call("infer", *IN_BATCHES)
        if fits == 0:
            if code != 1 or not one_line(said) or "no memory for one image" not in said[0]:
                yield f"fits none: exit code {code}, {said}"
        elif (code, said) != (0, []) or digests(self.work).get("infer") != self.codes:
            yield f"fits {fits}: exit code {code}, {said}, {digests(self.work).get('infer')}"
        else:
            (log,) = [*self.work.glob("artefacts/infer/*/log/memory.jsonl")] or [None]
            halved = log.read_text().count("\n") if log else 0
            if bool(halved) != bool(gpus[0].num_refused) or halved > int(math.log2(BATCH)):
                yield f"fits {fits}: refused {gpus[0].num_refused} times, halved {halved} times"
        yield from self._heals("infer", self.codes, *IN_BATCHES)

    def nan(self) -> Iterator[str]:
        """Some losses in a row: skipped. As many as `max_nan`: a line, and the last good checkpoint goes on."""
        self._start("teacher")
        first, length = self.rng.randrange(STEPS - MAX_NAN), self.rng.randint(1, MAX_NAN + 1)
        backward = Trainer._backward

        def broken(trainer: Trainer, *args: Any) -> float:
            loss = backward(trainer, *args)
            return loss * math.nan if first <= trainer.step < first + length else loss

        with mock.patch.object(Trainer, "_backward", broken):
            code, said = self._call("teacher", *TRAINING)
        if length < MAX_NAN:
            if (code, said) != (0, []):
                yield f"{length} from {first}: exit code {code}, {said}"
        elif code != 1 or not one_line(said) or f"not finite {MAX_NAN} times in a row" not in said[0]:
            yield f"{length} from {first}: exit code {code}, {said}"
        yield from damage(self.work)
        again = self._call("teacher", *TRAINING)
        if again != (0, []):
            yield f"run again: {again}"
        for path in self.work.glob("artefacts/teacher/*"):
            weights = safetensors.torch.load(Artefact.open(path).read(WEIGHTS))
            if not all(value.isfinite().all() for value in weights.values() if value.is_floating_point()):
                yield "weights that are not finite"

    def loader(self) -> Iterator[str]:
        """A thread that reads samples dies of whatever: a line, its exit code, no thread left, the next run heals."""
        kind, code = self.rng.choice(
            [
                (OSError(errno.EIO, "Input/output error"), 1),
                (MemoryError(), 1),
                (ImageError("x.png", "cannot be decoded"), 3),
            ]
        )
        step, digest, options, target, name = self.rng.choice(
            [
                ("teacher", self.weights, TRAINING, CropDataset, "__getitem__"),
                ("infer", self.codes, IN_BATCHES, autolabel.stages.infer, "_write"),
            ]
        )
        left, original = [self.rng.randrange(2 if step == "infer" else 2 * STEPS)], getattr(target, name)
        self._start(step)
        with mock.patch.object(target, name, _dying(original, left, kind)):
            ended, said = self._call(step, *options)
        if ended != code or not one_line(said):
            yield f"{step}, {kind!r}: exit code {ended}, {said}"
        threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("autolabel")]
        if threads:
            yield f"{step}, {kind!r}: threads left {threads}"
        yield from self._heals(step, digest, *options)


def _dying(original: Callable[..., Any], left: list[int], error: BaseException) -> Callable[..., Any]:
    lock = threading.Lock()

    def call(*args: Any) -> Any:
        with lock:
            left[0] -= 1
            if left[0] < 0:
                raise error
        return original(*args)

    return call


@contextmanager
def recorded(bad: list[str], what: str) -> Iterator[None]:
    """A try that breaks the harness itself is a bad outcome like any other."""
    try:
        yield
    except Exception as error:
        bad.append(f"{what}: {error!r}")


def main(work: Path, folder: Path, number: int, seed: int) -> list[str]:
    tries, bad = Tries(work, folder, seed), list[str]()
    for i in range(number):
        attempt = (tries.memory, tries.nan, tries.loader)[i % 3]
        with recorded(bad, f"try {i}, {attempt.__name__}"):
            bad += [f"try {i}, {attempt.__name__}: {line}" for line in attempt()]
    return bad


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
