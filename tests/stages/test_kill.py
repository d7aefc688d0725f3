"""SIGKILL in the middle of teacher, infer and label, then the same command: the digests of an uninterrupted run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autolabel.store import Artefact
from tests.helpers.hang import HANG_SECONDS
from tests.stages.tiny_pipeline import Tiny, call_json

pytestmark = [pytest.mark.xdist_group("tiny"), pytest.mark.slow]


def start(tiny: Tiny, work: Path, *extra: str) -> subprocess.Popen[bytes]:
    """The real program, in a process group of its own."""
    command = [sys.executable, "-m", "autolabel", "run", str(tiny.file), "--work", str(work), "-q", *extra]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for(process: subprocess.Popen[bytes], work: Path, pattern: str) -> None:
    """Until a file appears that shows the stage at work; the limit only ends a hang."""
    end = time.monotonic() + HANG_SECONDS
    while not list(work.glob(pattern)):
        assert process.poll() is None, f"ended with {process.returncode} before {pattern} appeared"
        assert time.monotonic() < end, f"{pattern} never appeared"
        time.sleep(0.002)


# A file in a draft that exists only while its stage is at work.
MOMENTS = {
    "teacher": "artefacts/teacher/*.partial/state/checkpoint.pt",
    "infer": "artefacts/infer/*.partial/data/codes-00000.h5",
    "label": "artefacts/label/*.partial/data/labels/*.png",
}


@pytest.mark.parametrize("stage", MOMENTS)
def test_killed_and_run_again_gives_the_same_digests(tiny: Tiny, tmp_path: Path, stage: str) -> None:
    process = start(tiny, tmp_path, "--until", "label")
    wait_for(process, tmp_path, MOMENTS[stage])
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    call_json("run", tiny.file, "--work", tmp_path, "-q", "--until", "label")
    found = call_json("status", tiny.file, "--work", tmp_path)["stages"]
    wanted = tiny.states()
    for step in ("manifest", "teacher", "infer", "label"):
        assert next(s for s in found if s["name"] == step)["digest"] == wanted[step]["digest"], step
    assert not list(tmp_path.glob("artefacts/*/*.partial"))
    assert not list(tmp_path.glob("artefacts/**/.tmp*"))


STUDENT = {
    "weights": '"teacher"',
    "loss": '"lovasz"',
    "freeze.stride": "2",
    "method": '"weak_to_strong"',
    "strong.colour": "0.5",
    "online_threshold": "0.4",
    "ema": "0.9",
    "keep_best": "true",
    "validate_every": "1",
    "epochs": "3",
}


def test_a_killed_student_ends_in_the_same_bits(tiny: Tiny, tmp_path: Path) -> None:
    """It starts from its teacher's weights and labels its own crops; killed after its first checkpoint."""
    options = [part for key, value in STUDENT.items() for part in ("--set", f"student.{key}={value}")]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for work in (alone, killed):
        shutil.copytree(tiny.work, work)
        shutil.rmtree(work / "artefacts" / "student")
    command = ("run", tiny.file, "-q", "--until", "student", *options, "--work")
    assert call_json(*command, alone)["made"] == ["student"]
    process = start(tiny, killed, "--until", "student", *options)
    wait_for(process, killed, "artefacts/student/*.partial/state/checkpoint.pt")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert call_json(*command, killed)["made"] == ["student"]
    (one,), (other,) = ((work / "artefacts" / "student").iterdir() for work in (alone, killed))
    assert one.name == other.name
    found, wanted = (Artefact.open(path) for path in (other, one))
    assert found.digest == wanted.digest
    assert found.provenance["history"] == wanted.provenance["history"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_at_a_checkpoint_with_its_exit_code(
    tiny: Tiny, tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    process = start(tiny, tmp_path, "--until", "teacher", "--set", "teacher.epochs=500")
    wait_for(process, tmp_path, MOMENTS["teacher"])
    process.send_signal(signum)
    _, stderr = process.communicate()
    assert process.returncode == code
    assert b"Traceback" not in stderr
    assert list(tmp_path.glob(MOMENTS["teacher"])), "the checkpoint is there to go on from"


def test_a_second_run_is_refused_while_the_first_holds_the_folder(tiny: Tiny, tmp_path: Path) -> None:
    first = start(tiny, tmp_path, "--until", "teacher", "--set", "teacher.epochs=500")
    try:
        wait_for(first, tmp_path, MOMENTS["teacher"])
        second = start(tiny, tmp_path, "--until", "teacher")
        _, stderr = second.communicate()
        assert second.returncode == 75
        assert f"pid {first.pid}" in stderr.decode()
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
