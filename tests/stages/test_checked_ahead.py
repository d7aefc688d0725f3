"""A setting that a late stage would refuse is refused before the first stage begins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from autolabel.config.networks import ModelConfig
from autolabel.models import WeightsCard, build_model
from autolabel.models.checkpoint import weights_to_bytes
from tests.helpers.experiments import experiment_toml
from tests.stages.tiny_pipeline import TINY, call


def refused(file: Path, work: Path, *overrides: str, code: int, command: str = "run") -> str:
    """The one line on stderr; no stage has begun. A dry run says the same and makes nothing at all."""
    options = [word for override in overrides for word in ("--set", override)]
    before = work.exists()
    planned = call("run", file, "--work", work, "--dry-run", *options)
    assert work.exists() == before
    result = call(command, file, "--work", work, "-q", *options)
    assert result.exit_code == code, result.output
    assert len(result.stderr.splitlines()) == 1
    assert not (work / "artefacts").exists()
    if command == "run":
        assert (planned.exit_code, planned.stderr, planned.stdout) == (code, result.stderr, "")
    return result.stderr


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.toml"
    path.write_text(experiment_toml(TINY))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("label.threshold=0.55", "label.threshold: 0.55 is no bin edge; the edges are 0.3, 0.4, 0.5"),
        (
            "label={threshold='quantile', quantile_range=[0.51, 0.59]}",
            "label.quantile_range: no bin edge lies in it; the edges are 0.3, 0.4, 0.5",
        ),
        ("label.class_thresholds={kar=0.5}", "no class is named 'kar'; did you mean 'car'?"),
        ("label.class_thresholds={car=0.55}", "0.55 is no bin edge"),
        ("infer.edges=[0.4, 0.6]", "infer.edges: 0.5 is missing"),
        ("infer.edges=[0.5, 0.5]", "do not increase"),
        ("student.model.trunk='hrnet_small'", "unknown trunk 'hrnet_small'"),
        ("student.model.head='ocrr'", "unknown head 'ocrr'"),
        (
            "student.phases=[{layers=['coarse']}]",
            "phase 1 draws from coarse, and there is no such label; there are auto",
        ),
        ("student.phases=[{layers=['fine'], epochs=7}]", "phases must add up to epochs = 1"),
        ("student.phases=[{layers=['fine'], uniform=['coarse']}]", "student.phases: phase 1 draws from coarse"),
        ("student.batch=9", "student.batch: a batch of 9 is more than the 8 images of all epochs"),
        ("student.uniform_classes=['kar']", "student.uniform_classes: no class is named 'kar'; did you mean 'car'?"),
        ("teacher.phases=[{layers=['auto']}]", "phase 1 draws from auto"),
        ("student.augment={cutmix=0.5, classmix=0.6}", "add up to 1 at most"),
        ("evaluate.scales=[0.5]", "hold 1.0, the output size"),
    ],
)
def test_settings_of_late_stages(file: Path, tmp_path: Path, override: str, says: str) -> None:
    assert says in refused(file, tmp_path / "w", override, code=2)


def test_a_codec_whose_library_is_missing(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "oxipng", None)
    assert "'archive' needs oxipng" in refused(file, tmp_path / "w", "label.codec='archive'", code=2)


def test_a_back_end_whose_library_is_missing(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "'dask' needs distributed" in refused(file, tmp_path / "w", "runtime.backend='dask'", code=2)


def test_epochs_as_long_as_there_are_fine_labels(file: Path, tmp_path: Path) -> None:
    file.write_text(experiment_toml(TINY, teacher={"epoch_images": None}, student={"epoch_images": None}))
    says = "teacher.batch: a batch of 5 is more than the 4 images of all epochs"
    assert says in refused(file, tmp_path / "w", "teacher.batch=5", code=2)


def test_a_threshold_that_the_asked_for_bins_hold_is_fine(file: Path, tmp_path: Path) -> None:
    overrides = ["infer.edges=[0.5, 0.55]", "label.threshold=0.55", "student.model.trunk='x'"]
    assert "unknown trunk" in refused(file, tmp_path / "w", *overrides, code=2)


@pytest.mark.slow
def test_steps_beyond_the_one_asked_for_are_not_judged(file: Path, tmp_path: Path) -> None:
    options = ["--work", tmp_path / "w", "-q", "--set", "label.threshold=0.55"]
    assert call("run", file, "--until", "manifest", *options).exit_code == 0


@pytest.mark.slow
def test_weights_the_student_starts_from(file: Path, tmp_path: Path) -> None:
    work, weights = tmp_path / "w", tmp_path / "weights.safetensors"
    start = f"student.weights='{weights}'"
    assert "cannot be read" in refused(file, work, start, code=3)
    weights.write_bytes(b"no weights")
    assert "not a safetensors file" in refused(file, work, start, code=3)
    table = ModelConfig(trunk="hrnet_tiny", head_channels=12, key_channels=4, attention_channels=4)
    card = WeightsCard(table=table, class_names=("a", "b"))
    weights.write_bytes(weights_to_bytes(build_model(table, 2), card))
    assert "holds head_channels 12; the experiment needs 8" in refused(file, work, start, code=3)


@pytest.mark.slow
def test_data_without_the_labels_a_stage_needs(tmp_path: Path) -> None:
    root, file = tmp_path / "data", tmp_path / "x.toml"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for name in "abc":
        Image.new("RGB", (9, 7)).save(root / "images" / f"{name}.png")
        Image.new("L", (9, 7)).save(root / "masks" / f"{name}.png")
    (root / "classes.toml").write_text('names = ["road"]')
    file.write_text(
        experiment_toml(data={"source": "folder", "root": str(root)}, teacher={"model": {"trunk": "hrnet_tiny"}})
    )
    says = "no val image has a label of fine; hold a few finely labelled images out"
    assert says in refused(file, tmp_path / "w", "data.val_share=0.0", code=3)
    says = "no train image has a label of coarse; choose other layers for teacher.labels"
    assert says in refused(file, tmp_path / "w", "teacher.labels=['coarse']", code=3)
    says = "no train image has a label of coarse; choose other layers for fuse.layers"
    assert says in refused(file, tmp_path / "w", "fuse.layers=['coarse']", code=3)
