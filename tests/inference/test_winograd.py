"""Winograd's filtering gives what the plain convolution gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autolabel.inference import winograd
from autolabel.inference.fused_convs import onto
from autolabel.inference.memory import LiveBytes
from autolabel.inference.optimize import prepare
from autolabel.inference.winograd import WinogradConv, use_winograd
from autolabel.models import SegmentationModel, build_model
from autolabel.models.skeleton import on_meta
from tests.inference.test_optimize import trained

SIZES = [(1, 1), (2, 3), (4, 4), (13, 11), (40, 37), (3, 90)]


def conv_of(inputs: int, outputs: int, *, bias: bool = True, **shape: Any) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, 3, bias=bias, **{"padding": 1, **shape}).requires_grad_(False)


def image(channels: int, height: int, width: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, height, width, generator=generator).to(memory_format=torch.channels_last)


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """All 3x3 convolutions, on maps of any size."""
    monkeypatch.setattr(winograd, "_CHANNELS", 1)
    monkeypatch.setattr(winograd, "_FEWEST_TILES", 1)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("tiles", [1, 7, 256])  # strips of one row of tiles, of a few, the whole map
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("most_kept", [0, 10**6])  # transformed at each call, or once
def test_equal_in_float64(
    size: tuple[int, int], tiles: int, bias: bool, most_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also added to another map, in its place."""
    monkeypatch.setattr(winograd, "_TILES", tiles)
    monkeypatch.setattr(winograd, "_MOST_KEPT", most_kept)
    conv, x = conv_of(5, 7, bias=bias).double(), image(5, *size, batch=2).double()
    fast, total = WinogradConv(conv), image(7, *size, batch=2).double()
    plain = conv(x)
    torch.testing.assert_close(fast(x), plain, rtol=1e-11, atol=1e-11)
    expected, place = total + plain, total.data_ptr()
    summed = onto(fast, x, total, relu=False)
    assert summed.data_ptr() == place
    torch.testing.assert_close(summed, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("channels", [128, 512])
def test_rounds_little_in_fp32(channels: int) -> None:
    """Against float64: the points were chosen for this. Those of the paper (0, 1, -1, 2, -2) exceed it.

    The larger kernel is transformed at each call.
    """
    conv, x = conv_of(channels, channels), torch.relu(image(channels, 24, 28))
    assert (WinogradConv(conv).products is None) == (channels == 512)
    exact = nn.functional.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)  # type: ignore[union-attr]

    def error(found: Tensor) -> float:
        return float((found - exact).abs().max() / exact.abs().max())

    assert error(WinogradConv(conv)(x)) < 5e-6
    assert not torch.equal(WinogradConv(conv)(x), conv(x)), "it ran plainly"


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("broken", ["image", "weights", "bias"])
def test_what_is_not_finite_stays_so(broken: str, value: float) -> None:
    conv, x = conv_of(4, 6), image(4, 13, 14)
    assert conv.bias is not None
    target = {"image": x[0, 1], "weights": conv.weight[2, 1], "bias": conv.bias}[broken]
    target[(1,) * target.ndim] = value
    plain, fast = conv(x), WinogradConv(conv)(x)
    assert not plain.isfinite().all()
    assert not fast[~plain.isfinite()].isfinite().any()
    summed = onto(WinogradConv(conv), x, torch.zeros_like(plain), relu=True)
    assert summed[plain.isnan()].isnan().all()


def test_which_convolutions() -> None:
    with on_meta():
        model = build_model({"trunk": "hrnet_w18_small_v1", "head": "ocr", "fusion": "hierarchical"}, 19)
    prepared = prepare(model, "meta", as_on="cpu")
    found = {name: module for name, module in prepared.named_modules() if isinstance(module, WinogradConv)}
    channels = {(conv.in_channels, conv.out_channels) for conv in found.values()}
    assert channels == {(128, 128), (512, 256), (256, 256)}
    assert len(found) == 2 * 2 + 2
    assert {name for name in found if name.startswith("attention")} == {"attention.first.conv", "attention.second.conv"}
    assert not _winograd_convs(prepare(model, "meta")), "other devices have kernels of their own"
    assert not _winograd_convs(prepare(model, "meta", torch.bfloat16, as_on="cpu"))


@pytest.mark.parametrize("shape", [{"stride": 2}, {"dilation": 2}, {"groups": 2}, {"padding_mode": "reflect"}], ids=str)
def test_other_shapes_stay(shape: dict[str, Any]) -> None:
    model = nn.Sequential(conv_of(128, 128, **shape), conv_of(96, 256))
    use_winograd(model)
    assert not _winograd_convs(model)


def test_small_maps_and_autocast_run_plainly() -> None:
    conv = conv_of(128, 128)
    fast = WinogradConv(conv)
    small, large = image(128, 12, 40), image(128, 13, 32)  # 30 and 32 tiles
    assert torch.equal(fast(small), conv(small))
    assert not torch.equal(fast(large), conv(large))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fast(large), conv(large))


@pytest.mark.slow
@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("size", [(64, 96), (37, 50), (1, 1)], ids=str)
@pytest.mark.parametrize("trunk", ["hrnet_tiny", "resnet_tiny"])
def test_networks_are_the_same_function(trunk: str, size: tuple[int, int]) -> None:
    model = trained(trunk, "ocr", "hierarchical")
    prepared = prepare(model, dtype=torch.float64)
    assert len(_winograd_convs(prepared)) > 3
    images = image(3, *size, batch=2).double()
    with torch.no_grad():
        pairs = zip(prepared.scale_maps(images, (0.5, 1.0)), model.scale_maps(images, (0.5, 1.0)), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-11, atol=1e-11)


@pytest.mark.slow
@pytest.mark.usefixtures("everywhere")
def test_labels_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """In fp32, of a network whose classes lie as close as random features leave them."""
    model = trained("hrnet_tiny", "ocr", "single").float()
    fast = prepare(model)
    monkeypatch.setattr(winograd, "_CHANNELS", 10**6)
    plain = prepare(model)
    assert _winograd_convs(fast)
    assert not _winograd_convs(plain)
    images = image(3, 512, 512)
    with torch.no_grad():
        ours, theirs = (one.forward_scale(images).logits for one in (fast, plain))
    assert not torch.equal(ours, theirs)
    assert (ours.argmax(1) == theirs.argmax(1)).double().mean() >= 0.9999
    assert theirs.argmax(1).unique().numel() > 1


def test_memory_is_that_of_every_strip() -> None:
    """It is counted with the first strip alone."""
    with on_meta():
        fast = WinogradConv(nn.Conv2d(128, 192, 3, padding=1))
        x = torch.empty(1, 128, 200, 100)
    peaks = []
    for fast.first_strip_only in (False, True):
        with torch.inference_mode(), LiveBytes() as counted:
            fast(x)
        peaks.append(counted.peak)
    assert peaks[0] == pytest.approx(peaks[1], abs=64)
    assert peaks[1] > 3 * 192 * 200 * 100 * 4


def _winograd_convs(model: nn.Module | SegmentationModel) -> list[WinogradConv]:
    return [module for module in model.modules() if isinstance(module, WinogradConv)]
