"""timm trunks if the extra is missing or broken: one line with the remedy."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from autolabel.errors import ConfigError, WeightsError
from autolabel.models import WeightsCard, build_model, weights_from_bytes, weights_to_bytes

TABLE = {"trunk": "timm:efficientnet_b4", "head": "conv"}


@pytest.fixture
def no_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)


@pytest.fixture
def broken_timm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A package of that name that fails as the real one does, where its torchvision does."""
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text(request.param)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()


@pytest.mark.usefixtures("no_timm")
def test_missing_timm() -> None:
    what = r"model\.trunk: 'timm:efficientnet_b4' needs timm, which is not installed"
    expected = rf"^{what}; pip install 'autolabel-seg\[timm\]'$"
    with pytest.raises(ConfigError, match=expected):
        build_model(TABLE, 3)


@pytest.mark.parametrize(
    ("broken_timm", "found"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "operator torchvision::nms does not exist"),
        ("raise ImportError('libcudart.so.13: cannot open\\nmore')", r"libcudart\.so\.13: cannot open"),
        ("raise AttributeError", "AttributeError"),
    ],
    indirect=["broken_timm"],
)
@pytest.mark.usefixtures("broken_timm")
def test_broken_torchvision(found: str) -> None:
    expected = rf"^model\.trunk: timm cannot be imported: {found}; its torchvision must be built for this torch: pip"
    with pytest.raises(ConfigError, match=expected) as error:
        build_model(TABLE, 3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("broken_timm", ["import torchvision_that_is_missing"], indirect=True)
@pytest.mark.usefixtures("broken_timm")
def test_missing_torchvision() -> None:
    with pytest.raises(ConfigError, match="needs torchvision_that_is_missing, which is not installed; pip install"):
        build_model(TABLE, 3)


@pytest.mark.usefixtures("no_timm")
def test_weights_that_need_timm() -> None:
    table = {"trunk": "hrnet_tiny", "head": "conv", "fusion": "single", "key_channels": 8}
    model = build_model(table, 2)
    card = WeightsCard(table=model.table, class_names=("a", "b"))
    data = weights_to_bytes(model, card).replace(b"hrnet_tiny", b"timm:vgg11")  # of the same length
    with pytest.raises(
        WeightsError, match=r"x: the network that its card describes cannot be built: .* pip install 'autolabel-seg"
    ):
        weights_from_bytes(data, "x")


@pytest.mark.parametrize(
    ("trunk", "message"),
    [
        ("tim:resnet18", r"unknown trunk 'tim'; did you mean 'timm'\? known: timm$"),
        (":resnet18", r"unknown trunk ''; known: timm$"),
        ("vgg11", r"unknown trunk 'vgg11'; known: .*, xception_tiny, timm:NAME$"),
    ],
)
def test_unknown_families(trunk: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.trunk: {message}"):
        build_model({"trunk": trunk}, 3)
