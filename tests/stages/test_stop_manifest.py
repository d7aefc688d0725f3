"""A manifest of many images takes long: it stops between two of them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from autolabel.config.load import parse_experiment
from autolabel.flow.graph import load_pipeline
from autolabel.flow.runner import Runner
from autolabel.signals import StopFlag, Stopped
from tests.helpers.experiments import experiment_toml
from tests.stages.tiny_pipeline import TINY

pytestmark = pytest.mark.slow


def test_a_stop_is_heeded_between_two_images(tmp_path: Path) -> None:
    """To render all these would take an hour."""
    raw = experiment_toml(TINY, data={"num_coarse": 20000}).encode()
    experiment = parse_experiment(raw, where="x", base=tmp_path)
    stop = StopFlag()

    def say(line: str) -> None:
        assert line.startswith("manifest: running")
        stop.signum = signal.SIGTERM

    runner = Runner(experiment, tmp_path, experiment.runtime, stop, say, quiet=True)
    with pytest.raises(Stopped):
        runner.run_only(load_pipeline(experiment).select("manifest"))
