"""The FPN decoder against a second, plain derivation, and which trunks it fits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from autolabel.errors import ConfigError
from autolabel.models import build_model
from autolabel.models.heads.fpn import FPNHead
from autolabel.models.trunks import Features, build_trunk


def bilinear(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(C, h, w) -> (C, *size), half-pixel centres, by loops."""
    out = np.empty((len(x), *size))
    for i in range(size[0]):
        for j in range(size[1]):
            at = [
                min(max((p + 0.5) * old / new - 0.5, 0), old - 1)
                for p, old, new in zip((i, j), x.shape[1:], size, strict=True)
            ]
            (r, s), (a, b) = np.divmod(at, 1)
            r, s = int(r), int(s)
            r1, s1 = min(r + 1, x.shape[1] - 1), min(s + 1, x.shape[2] - 1)
            top, low = (1 - b) * x[:, r, s] + b * x[:, r, s1], (1 - b) * x[:, r1, s] + b * x[:, r1, s1]
            out[:, i, j] = (1 - a) * top + a * low
    return out


def conv_norm(layer: torch.nn.Module, x: np.ndarray, *, relu: bool) -> np.ndarray:
    """A fresh norm divides by sqrt(1 + eps) and nothing else."""
    conv, eps = layer.conv, layer.norm.eps
    y = F.conv2d(torch.from_numpy(x)[None], conv.weight.detach(), padding=conv.padding)[0].numpy() / np.sqrt(1 + eps)
    return np.maximum(y, 0) if relu else y


def test_every_level_is_added_from_the_top_down() -> None:
    torch.manual_seed(0)
    trunk = build_trunk("efficientnet_lite0")
    head = FPNHead(trunk, 5, width=6).double().eval()
    skips = {s: torch.randn(1, c, 64 // s, 96 // s, dtype=torch.float64) for s, c in trunk.skip_channels.items()}
    high = torch.randn(1, trunk.channels, 2, 3, dtype=torch.float64)
    x = conv_norm(head.top, high[0].numpy(), relu=False)
    for lateral, stride in zip(head.lateral, (16, 8, 4), strict=True):
        low = conv_norm(lateral, skips[stride][0].numpy(), relu=False)
        x = np.maximum(low + bilinear(x, low.shape[1:]), 0)
    x = conv_norm(head.smooth, x, relu=True)
    with torch.no_grad():
        out = head(Features(high, skips))
    np.testing.assert_allclose(out.features[0], x, atol=1e-10)
    weight = head.classifier.weight.detach()[:, :, 0, 0].numpy()
    logits = np.einsum("kc,chw->khw", weight, x) + head.classifier.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(out.logits[0], logits, atol=1e-10)
    assert out.aux is None


@pytest.mark.slow
def test_it_is_light() -> None:
    """128 channels by default, 48 where `key_channels` is 96; less than a fifth of DeepLabV3+'s weights."""
    with torch.device("meta"):
        heads = {
            (name, width): build_model({"trunk": "efficientnet_lite0", "head": name, "key_channels": width}, 11).head
            for name, width in (("fpn", 256), ("fpn", 96), ("deeplabv3plus", 256))
        }
    assert (heads["fpn", 256].channels, heads["fpn", 96].channels) == (128, 48)
    assert heads["fpn", 256].stride == 4
    light, deep = (sum(p.numel() for p in heads[name, 256].parameters()) for name in ("fpn", "deeplabv3plus"))
    assert light < deep / 5


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["single", "average", "hierarchical", "explicit"])
@pytest.mark.parametrize("size", [(1, 1), (97, 131)])
def test_any_image_size_under_every_fusion(fusion: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    table = {"trunk": "efficientnet_b0", "head": "fpn", "fusion": fusion, "key_channels": 16, "attention_channels": 8}
    model = build_model(table, 4).eval()
    with torch.no_grad():
        assert model.forward_scale(torch.randn(1, 3, *size)).logits.shape == (1, 4, *(-(-side // 4) for side in size))
        out = model(torch.randn(1, 3, *size))
    assert out.fused.shape == (1, 4, *size)
    assert out.fused.isfinite().all()


@pytest.mark.slow
def test_a_trunk_without_skip_connections_is_refused() -> None:
    refused = (
        r"^model\.head: 'fpn' does not fit trunk 'hrnet_w18': it needs skip connections of stride 4, .*: conv, ocr$"
    )
    with pytest.raises(ConfigError, match=refused), torch.device("meta"):
        build_model({"trunk": "hrnet_w18", "head": "fpn"}, 3)
