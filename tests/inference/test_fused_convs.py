"""Convolutions that add to another map equal the separate operations, also for NaN."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autolabel.inference import fused_convs
from autolabel.inference.fused_convs import conv_relu, fuse_sums, has_fused_convs, onto
from autolabel.models import build_model

CONVS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 4},
    {"kernel_size": 1, "dilation": 2},  # as `prepare` leaves 1x1 convolutions
]
PRECISIONS = [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)]


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("shape", CONVS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (9, 14)], ids=str)
def test_equal_to_separate_operations(
    size: tuple[int, int], dtype: torch.dtype, tolerance: float, shape: dict[str, int], relu: bool
) -> None:
    """Compared in float64; the sum is in the place of the first summand."""
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 24, **shape).requires_grad_(False).to(dtype=dtype, memory_format=torch.channels_last)
    x = torch.randn(2, 16, *size).to(dtype).to(memory_format=torch.channels_last)
    exact = torch.nn.functional.conv2d(
        *(values.double() for values in (x, conv.weight, conv.bias)),
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
    )
    total = torch.randn(exact.shape).to(dtype).to(memory_format=torch.channels_last)
    expected = exact + total.double()
    place = total.data_ptr()

    alone, summed = conv_relu(conv, x, relu=relu), onto(conv, x, total, relu=relu)

    assert summed.data_ptr() == place
    for ours, theirs in ((alone, exact), (summed, expected)):
        wanted = theirs.relu() if relu else theirs
        torch.testing.assert_close(ours.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_nan_stays_nan(dtype: torch.dtype) -> None:
    """Broken weights must not give logits that look sound."""
    conv = nn.Conv2d(8, 8, 1).requires_grad_(False).to(dtype=dtype, memory_format=torch.channels_last)
    x = torch.full((1, 8, 4, 4), torch.nan, dtype=dtype).to(memory_format=torch.channels_last)
    assert conv_relu(conv, x).isnan().all()
    assert onto(conv, x, torch.zeros_like(x), relu=True).isnan().all()


def test_autocast_takes_images_in_float32() -> None:
    conv = nn.Conv2d(3, 8, 3).requires_grad_(False).to(dtype=torch.bfloat16, memory_format=torch.channels_last)
    assert conv_relu(conv, torch.randn(1, 3, 8, 8)).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_cpus_have_them(dtype: torch.dtype) -> None:
    """A version of torch that renames the operation fails here, and labels more slowly by separate operations."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU has no oneDNN for bf16")
    assert has_fused_convs(dtype)
    assert not has_fused_convs(torch.float64)


def test_wrong_results_are_not_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_convs, "onto", lambda conv, x, total, *, relu: torch.relu(conv(x)))  # without the sum
    assert not has_fused_convs(torch.float32)


def test_a_fused_trunk_has_no_plain_blocks_left() -> None:
    model = build_model({"trunk": "hrnet_tiny", "head": "conv", "fusion": "single"}, 3).eval()
    fuse_sums(model)
    names = {type(module).__name__ for module in model.modules()}
    assert names >= {"FusedConv", "FusedBasicBlock", "FusedBottleneck", "FusedExchange"}
    assert not names & {"ConvNorm", "BasicBlock", "Bottleneck", "ExchangeModule"}
