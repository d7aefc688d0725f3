"""Commands outside an experiment, several at once on one --out, some of them killed; and edits by a person between.

`cut` runs in forked processes with one of two thresholds. Whatever happens, the folder holds one work. If it is
unfinished, only that work goes on; if it is finished, every file has the digest that the index names and the pixels of
the one threshold. A label that a person has corrected is never replaced.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from autolabel.store import sha256_bytes
from tests.faults.tally import Tally

_THRESHOLDS = ("0.5", "0.9")
_INDEX = "labels.json"
_CORRECTED = b"corrected by hand"


def run(number: int, seed: int, folder: Path) -> Tally:
    rng, bad = random.Random(seed), list[str]()
    codes = folder / "codes.h5"
    codes.write_bytes(_shard())
    expected = {threshold: _whole(codes, folder / threshold, threshold) for threshold in _THRESHOLDS}
    for i in range(number):
        out = folder / "out"
        problems = _one(codes, out, rng, expected)
        bad += [f"try {i}: {problem}" for problem in problems]
        shutil.rmtree(out, ignore_errors=True)
    return Tally("concurrent outputs", number, tuple(bad))


def _shard() -> bytes:
    from autolabel.labels.codebook import Codebook
    from autolabel.labels.shards import write_shard

    book, rng = Codebook(3), np.random.default_rng(0)
    images = [(f"{i}", rng.integers(0, book.num_codes, (16, 24)).astype(book.dtype)) for i in range(6)]
    return write_shard(images, book, class_names=("x", "y", "z"), split="train")


def _cut(codes: Path, out: Path, threshold: str) -> tuple[int, str]:
    from autolabel.cli.main import cli

    done = CliRunner().invoke(cli, ["cut", str(codes), "--out", str(out), "--threshold", threshold, "-q", "--jobs=1"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return -1, repr(done.exception)
    return done.exit_code, done.stderr


def _whole(codes: Path, out: Path, threshold: str) -> dict[str, bytes]:
    assert _cut(codes, out, threshold) == (0, "")
    return _files(out)


def _files(out: Path) -> dict[str, bytes]:
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def _one(codes: Path, out: Path, rng: random.Random, expected: dict[str, dict[str, bytes]]) -> list[str]:
    wanted = [rng.choice(_THRESHOLDS) for _ in range(rng.choice((1, 2, 3)))]
    problems = _at_once(codes, out, wanted, killed=rng.random() < 0.5, after=rng.random() * 0.06)
    corrected = _correct(out, rng) if rng.random() < 0.3 else None
    threshold = rng.choice(_THRESHOLDS)
    code, said = _cut(codes, out, threshold)
    if code not in (0, 2) or (code == 2) != (len(said.splitlines()) == 1):
        problems.append(f"again: exit code {code}: {said}")
    if corrected is not None and corrected.read_bytes() != _CORRECTED:
        problems.append("a corrected label was replaced")
    if code == 0:
        found = _files(out)
        if found != expected[threshold]:
            names = sorted(name for name in found if found[name] != expected[threshold].get(name))
            problems.append(f"finished, with other files than those of {threshold}: {names[:3]}")
        rows = json.loads(found[_INDEX])
        if any(sha256_bytes(found[row["file"]]) != row["sha256"] for row in (*rows["labels"], *rows["files"])):
            problems.append("the index names another digest")
    elif corrected is None and not any(_cut(codes, out, each)[0] == 0 for each in _THRESHOLDS):
        problems.append(f"neither work goes on: {said}")
    return problems


def _correct(out: Path, rng: random.Random) -> Path | None:
    labels = sorted(out.glob("labels/*.png"))
    if not labels:
        return None
    chosen = rng.choice(labels)
    chosen.write_bytes(_CORRECTED)
    return chosen


def _at_once(codes: Path, out: Path, wanted: list[str], *, killed: bool, after: float) -> list[str]:
    """Bad ends of forked commands, one of which may be killed."""
    children = {}
    for threshold in wanted:
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                code, said = _cut(codes, out, threshold)
                code = 98 if len(said.splitlines()) != (code != 0) else code
            finally:
                os._exit(code)
        children[pid] = threshold
    if killed:
        time.sleep(after)
        os.kill(next(iter(children)), signal.SIGKILL)
    codes_ = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    return [f"exit code {code} among {codes_}" for code in codes_ if code not in (0, 2, 75, -signal.SIGKILL)]
