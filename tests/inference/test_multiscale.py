"""One network at several scales."""

from __future__ import annotations

import pytest
import torch

from autolabel.errors import ConfigError
from autolabel.inference import multiscale_logits
from autolabel.inference.model import LogitPredictor
from autolabel.models import SegmentationModel, build_model
from autolabel.models.fusion import ScaledOutput
from autolabel.models.resize import resize, scaled_size

SMALL = {"trunk": "hrnet_tiny", "head_channels": 16, "key_channels": 8, "attention_channels": 8}


@pytest.fixture(scope="module", params=["hierarchical", "single"])
def network(request: pytest.FixtureRequest) -> SegmentationModel:
    torch.manual_seed(0)
    model = build_model(SMALL | {"fusion": request.param}, 5).eval()
    for module in model.modules():  # logits that vary, unlike those of a new network
        if isinstance(module, torch.nn.Conv2d) and module.out_channels in (1, 5):
            torch.nn.init.normal_(module.weight)
    return model


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 37, 50, generator=torch.Generator().manual_seed(1))


def by_hand(model: SegmentationModel, images: torch.Tensor, scales: list[float]) -> torch.Tensor:
    maps = []
    for scale in scales:
        size = scaled_size((37, 50), scale)
        with torch.no_grad():
            out = model.forward_scale(resize(images, size))
        attention = None if out.attention is None else resize(out.attention, size)
        maps.append(ScaledOutput(scale, resize(out.logits, size), attention))
    return model.fusion.fuse(maps)


@pytest.mark.slow
@pytest.mark.parametrize("scales", [[1.0], [0.5, 1.0], [2.0, 0.5, 1.0], [0.25, 0.5, 1.0, 1.5]])
def test_scales_are_fused_at_their_own_size(
    network: SegmentationModel, images: torch.Tensor, scales: list[float]
) -> None:
    fused = multiscale_logits(network, images, scales)
    assert fused.shape == (2, 5, 37, 50)
    torch.testing.assert_close(fused, by_hand(network, images, scales))


def test_order_of_the_scales_does_not_count(network: SegmentationModel, images: torch.Tensor) -> None:
    assert torch.equal(
        multiscale_logits(network, images, [0.5, 2.0, 1.0]), multiscale_logits(network, images, [1, 0.5, 2])
    )


def test_one_scale_is_the_plain_network(network: SegmentationModel, images: torch.Tensor) -> None:
    with torch.no_grad():
        plain = resize(network.forward_scale(images).logits, (37, 50))
    assert torch.equal(multiscale_logits(network, images, [1.0]), plain)


def test_flip_averages_both_passes_and_is_symmetric(network: SegmentationModel, images: torch.Tensor) -> None:
    scales = [0.5, 1.0]
    both = multiscale_logits(network, images, scales, flip=True)
    flipped = multiscale_logits(network, images.flip(-1), scales).flip(-1)
    torch.testing.assert_close(both, (multiscale_logits(network, images, scales) + flipped) / 2)
    torch.testing.assert_close(multiscale_logits(network, images.flip(-1), scales, flip=True), both.flip(-1))


def test_every_scale_alone(network: SegmentationModel, images: torch.Tensor) -> None:
    """Logits at the scale's own size, and weights that sum to 1 at the output size; the highest scale first."""
    by_scale = LogitPredictor(network).by_scale(images, [0.5, 1.0, 2.0])
    assert {scale: tuple(each.values.shape[-2:]) for scale, each in by_scale.items()} == {
        2.0: (74, 100),
        1.0: (37, 50),
        0.5: (18, 25),
    }
    assert list(by_scale) == [2.0, 1.0, 0.5]
    torch.testing.assert_close(sum(each.weight for each in by_scale.values()), torch.ones(2, 1, 37, 50))
    with torch.no_grad():
        alone = network.forward_scale(resize(images, (18, 25))).logits
    torch.testing.assert_close(by_scale[0.5].values, resize(alone, (18, 25)))
    assert not any(each.values.requires_grad or each.weight.requires_grad for each in by_scale.values())


def test_separate_scales_are_not_fused(
    network: SegmentationModel, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fused map would be unused, and it has full size."""
    fused: list[int] = []
    monkeypatch.setattr(type(network.fusion), "fuse", lambda self, maps: fused.append(len(maps)))
    LogitPredictor(network).by_scale(images, [0.5, 1.0, 2.0])
    assert fused == []


def test_attention_of_the_highest_scale_is_not_computed(images: torch.Tensor) -> None:
    model = build_model(SMALL, 5).eval()
    passes = []
    assert model.attention is not None
    model.attention.register_forward_hook(lambda module, inputs, output: passes.append(inputs[0].shape))
    multiscale_logits(model, images, [0.5, 1.0, 2.0])
    assert len(passes) == 2
    passes.clear()
    multiscale_logits(model, images, [1.0])
    assert passes == []


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 2)])
def test_the_smallest_images(network: SegmentationModel, size: tuple[int, int]) -> None:
    fused = multiscale_logits(network, torch.randn(1, 3, *size), [0.25, 0.5, 1.0, 2.0], flip=True)
    assert fused.shape == (1, 5, *size)
    assert fused.isfinite().all()


@pytest.mark.parametrize("scales", [[], [0.5, 2.0], [1.0, 1.0]])
def test_scales_must_hold_the_output_size_once(
    network: SegmentationModel, images: torch.Tensor, scales: list[float]
) -> None:
    with pytest.raises(ConfigError, match=r"must be distinct and hold 1\.0"):
        multiscale_logits(network, images, scales)
