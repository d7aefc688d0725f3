"""Infer and label take hours over many images: they stop between two shards."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from autolabel.config.load import parse_experiment
from autolabel.flow.graph import load_pipeline
from autolabel.flow.runner import Runner
from autolabel.signals import StopFlag, Stopped
from autolabel.stages import infer
from tests.stages.tiny_pipeline import Tiny

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("step", "before", "overrides", "files", "most"),
    [
        ("infer", ("manifest", "teacher"), ["infer.chunk=1"], "*.h5", 4),  # of 8; some are on their way to the disk
        ("label", ("manifest", "teacher", "infer"), [], "labels/*.png", 2),  # of 5 in 3 shards
    ],
)
def test_a_stop_is_heeded_between_two_shards(
    tiny: Tiny, tmp_path: Path, step: str, before: tuple[str, ...], overrides: list[str], files: str, most: int
) -> None:
    assert 1 <= len(_stopped(tiny, tmp_path, step, before, overrides, files)) <= most


def test_infer_leaves_a_long_chunk_for_later(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "PATIENCE", 0.0)
    before, overrides = ("manifest", "teacher"), ["infer.chunk=8"]
    assert _stopped(tiny, tmp_path, "infer", before, overrides, "*.h5") == []


def _stopped(
    tiny: Tiny, tmp_path: Path, step: str, before: tuple[str, ...], overrides: list[str], files: str
) -> list[Path]:
    """The finished files of a step that was asked to stop when it began."""
    for name in before:
        shutil.copytree(tiny.work / "artefacts" / name, tmp_path / "artefacts" / name)
    experiment = parse_experiment(tiny.file.read_bytes(), where="x", base=tmp_path, overrides=overrides)
    stop = StopFlag()

    def say(line: str) -> None:
        if line.startswith(f"{step}: running"):
            stop.request(signal.SIGTERM)

    runner = Runner(experiment, tmp_path, experiment.runtime, stop, say, quiet=True)
    with pytest.raises(Stopped):
        runner.run_only(load_pipeline(experiment).select(step))
    return list(tmp_path.glob(f"artefacts/{step}/*.partial/data/{files}"))
