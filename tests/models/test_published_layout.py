"""Loading a checkpoint of a published layout: strict, and clear about what does not fit."""

from __future__ import annotations

import pytest
import torch

from autolabel.errors import ConfigError, WeightsError
from autolabel.models import SegmentationModel, build_model, load_published, published_keys, published_state

SMALL = {"trunk": "hrnet_tiny", "head_channels": 8, "key_channels": 4, "attention_channels": 4}


@pytest.fixture
def model() -> SegmentationModel:
    torch.manual_seed(0)
    return build_model(SMALL, 5)


@pytest.fixture
def checkpoint() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {f"module.{key}": value.clone() for key, value in published_state(build_model(SMALL, 5)).items()}


def test_what_is_written_is_read_back(model: SegmentationModel, checkpoint: dict[str, torch.Tensor]) -> None:
    load_published(model, checkpoint)
    assert all(torch.equal(checkpoint[f"module.{key}"], value) for key, value in published_state(model).items())
    assert published_keys(model) == {k.removeprefix("module."): tuple(v.shape) for k, v in checkpoint.items()}


def test_half_precision_is_accepted(model: SegmentationModel, checkpoint: dict[str, torch.Tensor]) -> None:
    load_published(model, {k: v.half() if v.is_floating_point() else v for k, v in checkpoint.items()})
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32, torch.int64}


def test_missing_keys_are_counted_and_twenty_named(
    model: SegmentationModel, checkpoint: dict[str, torch.Tensor]
) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    kept = {key: value for key, value in checkpoint.items() if "stage3" not in key}
    with pytest.raises(
        WeightsError, match=r"teacher\.pth: entries missing \(\d+\): backbone\.stage3.* and \d+ more"
    ) as e:
        load_published(model, kept, where="teacher.pth")
    assert str(e.value).count("backbone.stage3") == 20
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("module.extra.weight", torch.zeros(1), r"unexpected \(1\): extra.weight"),
        ("module.ocr.cls_head.bias", torch.zeros(19), r"mis-shaped \(1\): ocr.cls_head.bias \[19\], expected \[5\]"),
        ("module.ocr.cls_head.bias", torch.tensor([0, 0, 0, 0, float("nan")]), r"not finite \(1\): ocr.cls_head.bias"),
        ("module.ocr.cls_head.bias", torch.full((5,), 1e300, dtype=torch.float64), r"not finite \(1\)"),
        ("module.ocr.cls_head.bias", torch.zeros(5, dtype=torch.int64), r"wrong type \(1\)"),
        ("module.ocr.cls_head.bias", [0.0] * 5, r"wrong type \(1\)"),
        ("module.ocr.cls_head.bias", torch.zeros(5).to_sparse(), r"wrong type \(1\)"),
        ("module.backbone.bn1.running_var", torch.full((16,), -1.0), r"negative \(1\): backbone.bn1.running_var"),
    ],
)
def test_one_bad_entry_is_named(
    model: SegmentationModel, checkpoint: dict[str, torch.Tensor], key: str, value: object, message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        load_published(model, checkpoint | {key: value})


REDUCED = [
    ("resnet_tiny", "deeplabv3plus", "explicit"),
    ("wide_resnet_tiny", "deeper", "average"),
    ("xception_tiny", "deeplabv3plus", "hierarchical"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("trunk", "head", "fusion"), REDUCED)
def test_other_networks_are_read_back(trunk: str, head: str, fusion: str) -> None:
    table = SMALL | {"trunk": trunk, "head": head, "fusion": fusion}
    source, target = build_model(table, 5).eval(), build_model(table, 5).eval()
    load_published(target, {f"module.{key}": value for key, value in published_state(source).items()})
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        assert torch.equal(target(images).fused, source(images).fused)


@pytest.mark.parametrize(("trunk", "head", "fusion"), REDUCED)
def test_twenty_foreign_keys_are_refused(trunk: str, head: str, fusion: str) -> None:
    model = build_model(SMALL | {"trunk": trunk, "head": head, "fusion": fusion}, 5)
    foreign = {f"module.loss.{i}": torch.zeros(1) for i in range(20)}
    with pytest.raises(WeightsError, match=r"unexpected \(20\): loss\.0, .*loss\.18, loss\.19; the file"):
        load_published(model, published_state(model) | foreign)


def test_what_nobody_published_has_no_layout() -> None:
    model = build_model(SMALL | {"trunk": "resnet_tiny", "head": "deeperlab", "fusion": "single"}, 5)
    with pytest.raises(ConfigError, match=r"model\.head: no published layout for 'deeperlab'"):
        published_keys(model)
