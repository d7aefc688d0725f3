"""Out of memory at any line of the store and of the codecs, as SQLite fails each of its allocations in turn.

The N-th line of autolabel that runs raises MemoryError, in whichever thread it does. The task ends with MemoryError. It
never gives another result, takes good bytes for damaged ones, or leaves a folder from which the next run does not come
to the digest of an undisturbed one. Allocations of the interpreter itself do not fail: numpy and HDF5 would crash.
"""

from __future__ import annotations

import random
import shutil
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import autolabel
from tests.faults import small_stage
from tests.faults.forked import End, forked
from tests.faults.tally import Tally

_PACKAGE = str(Path(autolabel.__file__).parent)


def tasks() -> dict[str, Callable[[Path], str]]:
    """Each returns a digest that must not change."""
    from autolabel.labels import png
    from autolabel.labels.codebook import Codebook
    from autolabel.labels.shards import read_shard, write_shard
    from autolabel.store import sha256_bytes

    book = Codebook(3)
    codes = np.random.default_rng(0).integers(0, book.num_codes, (40, 60)).astype(book.dtype)
    shard = write_shard([("a", codes), ("b", codes[:9])], book, class_names=("x", "y", "z"), split="train")
    labels = (codes % 3).astype(np.uint8)
    encoded = png.encode(labels)

    def read_codes(folder: Path) -> str:
        opened = read_shard(shard)
        opened.check()
        return sha256_bytes(opened.codes("a").tobytes() + opened.codes("b").tobytes())

    return {
        "store": small_stage.scenario,
        "write codes": lambda folder: sha256_bytes(
            write_shard([("a", codes)], book, class_names=("x", "y", "z"), split="train")
        ),
        "read codes": read_codes,
        "write label": lambda folder: sha256_bytes(png.encode(labels)),
        "read label": lambda folder: sha256_bytes(png.decode(encoded).tobytes()),
    }


class Lines:
    """Counts the lines of autolabel that run, in all threads; MemoryError at one of them, as if it had allocated."""

    def __init__(self, at: int | None) -> None:
        self._at, self._lock, self.number = at, threading.Lock(), 0

    def __enter__(self) -> Lines:
        threading.settrace(self._frame)
        sys.settrace(self._frame)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]  # as documented

    def _frame(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        return self._line if frame.f_code.co_filename.startswith(_PACKAGE) else None

    def _line(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        if event == "line":
            with self._lock:
                here, self.number = self.number, self.number + 1
            if here == self._at:
                raise MemoryError
        return self._line


def _failing(task: Callable[[Path], str], folder: Path, at: int) -> str:
    with Lines(at):
        return task(folder)


def _counted(task: Callable[[Path], str], folder: Path) -> str:
    with Lines(None) as lines:
        digest = task(folder)
    return f"{digest} {lines.number}"


def _fresh(template: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)


def run(number: int, seed: int, folder: Path) -> Tally:
    """`number` failures, each task in turn."""
    rng, bad, tried = random.Random(seed), list[str](), 0
    template, here = folder / "template", folder / "here"
    template.mkdir()
    small_stage.prepare(template)
    known: dict[str, tuple[str, int]] = {}
    for name, task in tasks().items():
        _fresh(template, here)
        clean = forked(partial(_counted, task, here))
        assert clean.result is not None, clean.error
        digest, lines = clean.result.split()
        known[name] = digest, int(lines)
    while tried < number:
        for name, task in tasks().items():
            digest, lines = known[name]
            at = rng.randrange(lines)
            _fresh(template, here)
            end = forked(partial(_failing, task, here, at))
            again = forked(partial(task, here))
            problems = [*_bad_end(end, digest), *_bad_again(again, digest)]
            bad += [f"{name}, line {at} of {lines}: {problem}" for problem in problems]
            tried += 1
    return Tally("allocation failures", tried, tuple(bad))


def _bad_end(end: End, digest: str) -> list[str]:
    """A work that needs no such allocation, in cleaning up say, may come to its end."""
    if end.result is not None:
        return [] if end.result == digest else ["another result"]
    last = end.error.strip().splitlines()[-1] if end.error.strip() else "ended without a word"
    return [] if last.startswith("MemoryError") else [last[:200]]


def _bad_again(again: End, digest: str) -> list[str]:
    if again.result is None:
        return [f"again: {again.error.strip()[-200:]}"]
    return [] if again.result == digest else ["again: another digest"]
