"""`import-weights`: from a checkpoint to labels, or to a training, on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from autolabel.classes import CLASS_SETS
from autolabel.cli.main import cli
from autolabel.config.networks import ModelConfig, TeacherConfig
from autolabel.errors import WeightsError
from autolabel.models import build_model, published_state, weights_from_bytes
from autolabel.models.weights_file import check_trained
from autolabel.stages.initial_model import load_initial_model
from tests.helpers.experiments import experiment_toml, scenes

pytestmark = pytest.mark.slow

TABLE = ModelConfig(trunk="hrnet_tiny", head_channels=8, key_channels=4, attention_channels=4)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As NVIDIA/semantic-segmentation saves them, its mean IoU a number of numpy's."""
    torch.manual_seed(0)
    weights = {f"module.{key}": value for key, value in published_state(build_model(TABLE, 19)).items()}
    file = tmp_path_factory.mktemp("published") / "best_checkpoint_ep174.pth"
    beside = {"epoch": 174, "arch": "ocrnet.HRNet_Mscale", "optimizer": {"state": {}}, "mean_iu": np.float64(0.85)}
    torch.save({**beside, "state_dict": weights}, file)
    return file


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As torchvision names a ResNet, with its classifier."""
    table = {"trunk": "resnet_tiny", "head": "conv", "fusion": "single"}
    state = published_state(build_model(table, 2))
    entries = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    stem = {"layer0.0.": "conv1.", "layer0.1.": "bn1."}
    for old, new in stem.items():
        entries = {key.replace(old, new): value for key, value in entries.items()}
    file = tmp_path_factory.mktemp("imagenet") / "resnet.pth"
    torch.save(entries | {"fc.weight": torch.zeros(3, 256), "fc.bias": torch.zeros(3)}, file)
    return file


def call(*args: object) -> Result:
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(result: Result, code: int) -> str:
    assert (result.exit_code, result.stdout) == (code, "")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


def write_image(file: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(file)
    return file


def test_an_imported_teacher_labels(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "teacher.safetensors"
    result = call("import-weights", checkpoint, "--out", out)
    assert result.exit_code == 0, result.output
    network = "hrnet_tiny + ocr + hierarchical, 19 classes taken for those of Cityscapes"
    assert result.stdout.startswith(f"{checkpoint}: {network}"), "a network without a published name is said once"
    assert "beside the weights, not used: epoch, arch, optimizer, mean_iu" in result.stdout
    assert f"next: autolabel predict --teacher {out}" in result.stdout
    labelled = call("predict", "--teacher", out, write_image(tmp_path / "a.png"), "--out", tmp_path / "labels", "-q")
    assert labelled.exit_code == 0, labelled.output
    label = np.array(Image.open(tmp_path / "labels" / "labels" / "a.png"))
    assert label.shape == (40, 50)
    assert label.max() < 19


def test_json_is_one_object(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.safetensors"
    result = call("import-weights", checkpoint, "--out", out, "--classes", "camvid", "--json")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    report = json.loads(line)
    assert report["bytes"] == out.stat().st_size
    assert report["class_names"] == list(CLASS_SETS["camvid"].names)
    assert report["fresh"] == ["head.classifier (ocr.cls_head)", "head.aux_classifier (ocr.aux_head.2)"]
    assert report["table"]["key_channels"] == 4
    assert (report["used"], report["left_out"]) == (len(published_state(build_model(TABLE, 19))), [])
    card = weights_from_bytes(out.read_bytes(), out)[1]
    assert card.extra["imported"]["sha256"] == report["sha256"]


def test_again_gives_the_same_bytes_and_nothing_is_replaced(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.safetensors"
    assert call("import-weights", checkpoint, "--out", out).exit_code == 0
    before = out.read_bytes()
    assert call("import-weights", checkpoint, "--out", out).exit_code == 0
    said = refused(call("import-weights", checkpoint, "--out", out, "--classes", "camvid"), 2)
    assert "exists already and holds something else" in said
    assert out.read_bytes() == before
    bytes_before = checkpoint.read_bytes()
    assert "exists already" in refused(call("import-weights", checkpoint, "--out", checkpoint), 2)
    assert checkpoint.read_bytes() == bytes_before


def test_class_files(checkpoint: Path, tmp_path: Path) -> None:
    toml, config = tmp_path / "classes.toml", tmp_path / "config_v1.2.json"
    toml.write_text(f"names = {[f'c{i}' for i in range(19)]}")
    label = {"color": [1, 2, 3], "evaluate": True}
    config.write_text(json.dumps({"labels": [label | {"name": f"m{i}"} for i in range(19)]}))
    for file, first in ((toml, "c0"), (config, "m0")):
        out = tmp_path / f"{file.stem}.safetensors"
        assert call("import-weights", checkpoint, "--out", out, "--classes", file).exit_code == 0
        assert weights_from_bytes(out.read_bytes(), out)[1].class_names[0] == first
    out = tmp_path / "t.safetensors"
    said = refused(call("import-weights", checkpoint, "--out", out, "--classes", tmp_path / "no"), 2)
    assert "no: cannot be read: No such file or directory; give a class file, or one of cityscapes, camvid" in said
    config.write_text("{" * 9)
    assert "not valid JSON" in refused(call("import-weights", checkpoint, "--out", out, "--classes", config), 2)


def test_a_trunk_starts_a_training(trunk: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "resnet.safetensors", tmp_path / "x.toml"
    result = call("import-weights", trunk, "--out", out)
    assert result.exit_code == 0, result.output
    assert "a resnet_tiny trunk alone" in result.stdout
    assert "2 entries of its classifier are left out: fc.* (2)" in result.stdout
    assert (
        f'next: an experiment with teacher.weights = "{out}" and teacher.model.trunk = "resnet_tiny"' in result.stdout
    )
    assert "holds only a trunk" in refused(
        call("predict", "--teacher", out, write_image(tmp_path / "a.png"), "--out", "o"), 3
    )
    model = {"trunk": "resnet_tiny_os16", "head": "deeplabv3plus", "key_channels": 8, "attention_channels": 4}
    teacher = {"weights": str(out), "crop": [32, 48], "batch": 2, "epochs": 1, "tile": 32, "model": model}
    data, student = scenes(32, 48, fine=2, coarse=2, val=1), {"model": {"trunk": "hrnet_tiny"}}
    file.write_text(experiment_toml(data=data, teacher=teacher, student=student))
    run = ("run", file, "--work", tmp_path / "w", "--until", "teacher", "-q")
    assert "holds trunk 'resnet_tiny'" in refused(call(*run, "--set", "teacher.model.trunk='xception_tiny'"), 3)
    result = call(*run)
    assert result.exit_code == 0, result.output


def test_files_that_cannot_be_used(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.safetensors"
    assert "cannot be read: No such file" in refused(call("import-weights", tmp_path / "no.pth", "--out", out), 3)
    assert "cannot be read: Is a directory" in refused(call("import-weights", tmp_path, "--out", out), 3)
    assert "is a folder" in refused(call("import-weights", checkpoint, "--out", tmp_path), 2)
    assert "unknown trunk" in refused(call("import-weights", checkpoint, "--out", out, "--trunk", "hrnet"), 2)
    foreign = tmp_path / "foreign.pth"
    extra = {f"module.foreign{i}": torch.zeros(1) for i in range(20)}
    torch.save(torch.load(checkpoint, weights_only=False)["state_dict"] | extra, foreign)
    said = refused(call("import-weights", foreign, "--out", out), 3)
    assert "entries unexpected (20): " in said
    assert all(f"foreign{i}" in said for i in range(20))
    assert not out.exists()


class Touch:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_file_in_a_process_of_its_own(checkpoint: Path, tmp_path: Path) -> None:
    """Refused in one line, nothing run, nothing written; the same program then imports a good one."""
    evil, marker, out = tmp_path / "evil.pth", tmp_path / "marker", tmp_path / "t.safetensors"
    torch.save({"state_dict": {}, "x": Touch(marker)}, evil)

    def program(file: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "autolabel", "import-weights", str(file), "--out", str(out)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = program(evil)
    assert (done.returncode, done.stdout) == (3, "")
    asked = f"{os.system.__module__}.system"
    assert done.stderr == (
        f"autolabel: {evil}: refers to {asked}, which no weights need; "
        "no code in it was run; use a file that holds only tensors, a state dict or safetensors\n"
    )
    assert not marker.exists()
    assert not out.exists()
    assert program(checkpoint).returncode == 0
    assert out.exists()


def test_layers_drawn_anew_label_nothing_until_they_are_trained(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.safetensors"
    assert call("import-weights", checkpoint, "--out", out, "--classes", "camvid").exit_code == 0
    image = write_image(tmp_path / "a.png")
    for command in (["predict", "--teacher", out, image], ["export", "model", out]):
        said = refused(call(*command, "--out", tmp_path / "out", "-q"), 3)
        assert "randomly initialised and not yet trained: head.classifier (ocr.cls_head), head.aux_classifier" in said
        assert not (tmp_path / "out").exists()
    settings = TeacherConfig(weights=out, model=TABLE, epochs=0)
    with pytest.raises(WeightsError, match="randomly initialised and not yet trained"):
        load_initial_model(settings, CLASS_SETS["camvid"].names)
    initial = load_initial_model(settings.model_copy(update={"epochs": 1}), CLASS_SETS["camvid"].names)
    check_trained(initial.card, "the card of what is trained holds no such mark")
    assert initial.card.extra["imported"]["layout"]


@pytest.mark.parametrize(("kind", "name"), [("head", "deeperlab"), ("trunk", "timm:resnet50")])
def test_what_has_no_published_layout(checkpoint: Path, tmp_path: Path, kind: str, name: str) -> None:
    said = refused(call("import-weights", checkpoint, "--out", tmp_path / "x", f"--{kind}", name), 2)
    known = f"--head: the head {name!r} has no known published layout; one of: conv, deeper, deeplabv3plus, ocr"
    assert (known if kind == "head" else "unknown trunk") in said
