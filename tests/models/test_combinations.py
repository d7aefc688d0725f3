"""Trunk x head x fusion: which are built, which are refused, and that the built ones learn."""

from __future__ import annotations

import pytest
import torch

from autolabel.errors import ConfigError
from autolabel.losses import training_loss
from autolabel.models import SegmentationModel, build_model

SMALL = {"head_channels": 32, "key_channels": 32, "attention_channels": 16}
TRAINED = [
    ("resnet_tiny", "deeplabv3plus", "hierarchical"),
    ("resnet_tiny_os16", "deeplabv3plus", "explicit"),
    ("hrnet_tiny", "ocr", "explicit"),
    ("hrnet_tiny", "conv", "single"),
    ("wide_resnet_tiny", "deeper", "hierarchical"),
    ("xception_tiny", "deeplabv3plus", "average"),
    ("resnet_tiny_os16", "deeperlab", "hierarchical"),
]


def build(trunk: str, head: str, fusion: str, classes: int = 4) -> SegmentationModel:
    torch.manual_seed(0)
    return build_model(SMALL | {"trunk": trunk, "head": head, "fusion": fusion}, classes)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of four rectangles, each class of a colour of its own, with noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(2, 64, 96, dtype=torch.int64)
    labels[0, 16:48, 16:64], labels[0, 48:, 48:], labels[1, :32, 32:], labels[1, 32:64, :48] = 1, 2, 3, 1
    colours = torch.tensor([[-1.0, 0.0, 1.0], [1.0, 0.0, -1.0], [0.0, 1.5, 0.0], [0.0, -1.5, 0.5]])
    images = colours[labels].permute(0, 3, 1, 2) + 0.3 * torch.randn(2, 3, 64, 96, generator=generator)
    return images, labels


@pytest.mark.parametrize(("trunk", "head", "fusion"), TRAINED)
def test_twenty_steps_fit_one_batch(trunk: str, head: str, fusion: str) -> None:
    model = build(trunk, head, fusion).train()
    images, labels = batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(20):
        optimizer.zero_grad()
        training_loss(model(images), labels, loss="ce", scale_weight=0.5).backward()
        optimizer.step()
    with torch.no_grad():
        right = (model(images).fused.argmax(dim=1) == labels).float().mean().item()
    assert right > 0.9, right


@pytest.mark.parametrize(("trunk", "head", "fusion"), TRAINED)
@pytest.mark.parametrize("size", [(1, 1), (37, 50)])
def test_any_image_size(trunk: str, head: str, fusion: str, size: tuple[int, int]) -> None:
    model = build(trunk, head, fusion).eval()
    with torch.no_grad():
        out = model(torch.randn(1, 3, *size))
    assert out.fused.shape == (1, 4, *size)
    for logits in (out.fused, *out.per_scale.values()):
        assert logits.shape == (1, 4, *size)
        assert logits.isfinite().all()


def test_explicit_trains_on_its_three_scales() -> None:
    out = build("resnet_tiny", "ocr", "explicit").eval()(torch.randn(1, 3, 33, 40))
    assert set(out.per_scale) == {0.5, 1.0, 2.0}
    assert out.fused_aux is not None
    assert out.fused_aux.shape == (1, 4, 33, 40)


@pytest.mark.parametrize("scales", [[0.5, 1.0], [0.25, 0.5, 1.0, 2.0], [1.0, 2.0]])
def test_explicit_refuses_scales_it_has_not_learnt(scales: list[float]) -> None:
    model = build("resnet_tiny", "conv", "explicit").eval()
    with pytest.raises(ConfigError, match=r"scales: .* do not fit explicit fusion.*\[0\.5, 1\.0, 2\.0\]; those, or"):
        model.scale_maps(torch.randn(1, 3, 16, 16), scales)


@pytest.mark.parametrize("head", ["deeplabv3plus", "deeper", "deeperlab"])
def test_decoders_need_low_level_features(head: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.head: '{head}' joins low-level features.*; heads for it: conv"):
        build("hrnet_tiny", head, "single")


def test_padding_for_strides_is_cut_off_again() -> None:
    """Where the strides divide the image nothing is padded; elsewhere the result is that of the padded image."""
    model = build("wide_resnet_tiny", "deeper", "single").eval()
    images = torch.randn(1, 3, 37, 50)
    with torch.no_grad():
        out = model.evidence(images)
        padded = model.evidence(torch.nn.functional.pad(images, (0, 6, 0, 3)))
    assert padded.logits.shape == (1, 4, 20, 28)
    assert torch.equal(out.logits, padded.logits[..., :19, :25])


def test_pooling_of_one_image_cannot_be_normalised() -> None:
    with pytest.raises(ConfigError, match="batch: ASPP's image pooling cannot train on one image; at least 2"):
        build("resnet_tiny", "deeplabv3plus", "single").train()(torch.randn(1, 3, 32, 32))
