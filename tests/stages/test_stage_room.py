"""The disk estimates of the stages, compared with the disk space they took."""

from __future__ import annotations

from pathlib import Path

import pytest

from autolabel.config.load import parse_experiment
from autolabel.config.networks import TeacherConfig
from autolabel.data.sources.registry import plan
from autolabel.flow.disk_space import estimates, measured_sizes
from autolabel.flow.graph import load_pipeline
from autolabel.flow.stage import DatasetSizes, ImageCount, PreflightContext
from autolabel.stages import disk_estimates
from autolabel.store import Artefact, bytes_in
from tests.helpers.experiments import experiment_toml
from tests.stages.tiny_pipeline import TINY, Tiny, call, call_json

pytestmark = pytest.mark.xdist_group("tiny")


@pytest.mark.slow
def test_no_stage_took_more(tiny: Tiny) -> None:
    experiment = parse_experiment(experiment_toml(TINY).encode(), where="x", base=Path())
    paths = {name: Path(step["path"]) for name, step in tiny.states().items()}
    rooms = estimates(load_pipeline(experiment), experiment, Artefact.open(paths["manifest"]))
    assert rooms.keys() == paths.keys()
    for name, path in paths.items():
        assert bytes_in(path) <= (rooms[name].bytes or 0), name
    assert (rooms["infer"].items, rooms["label"].items, rooms["evaluate-teacher"].items) == (8, 5, 3)


@pytest.mark.slow
def test_the_manifest_says_how_large_the_images_are(tiny: Tiny) -> None:
    sizes = measured_sizes(Artefact.open(Path(tiny.states()["manifest"]["path"])))
    assert sizes == DatasetSizes(ImageCount(12, 12 * 48 * 80), ImageCount(5, 5 * 48 * 80), ImageCount(3, 3 * 48 * 80))


@pytest.mark.slow
def test_a_training_needs_two_checkpoints_and_the_weights() -> None:
    experiment = parse_experiment(experiment_toml(TINY).encode(), where="x", base=Path())
    sizes = DatasetSizes(*[ImageCount(0, 0)] * 3)

    def needed(**settings: object) -> int:
        teacher = TeacherConfig.model_validate(experiment.teacher.model_dump() | settings)
        return (
            disk_estimates.train(PreflightContext(teacher, {}, plan(experiment.data)), sizes).bytes or 0
        ) - 64 * disk_estimates.FILE

    weights = needed(epochs=0)
    assert 100_000 < weights < 3_000_000
    assert needed() == weights * (1 + 2 * 4)  # the network, two moments of adamw, the average
    assert needed(optimizer="sgd", ema=0.0) == weights * (1 + 2 * 2)


@pytest.mark.slow
def test_a_dry_run_tells(tiny: Tiny, tmp_path: Path) -> None:
    rows = {row["step"]: row for row in call_json("run", tiny.file, "--work", tmp_path / "w", "--dry-run")["plan"]}
    assert rows["label"]["items"] == 5
    assert rows["infer"]["disk_bytes"] > 0
    assert "5 items, disk: about" in call("run", tiny.file, "--work", tmp_path / "w", "--dry-run").stdout
    kept = call_json("run", tiny.file, "--work", tiny.work, "--dry-run")["plan"]
    assert {(row["action"], row["items"]) for row in kept} == {("keep", None)}
