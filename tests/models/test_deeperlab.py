"""DeeperLab's decoder (arXiv 1902.05093, section 3) against a second derivation: loops over pixels in float64.

No published code of it is at hand. What the paper says: at output stride 16 the low-level features of stride 4 are
reduced to 32 channels and moved into depth (512), joined with the 256 of pyramid pooling, passed through two 7x7
convolutions of 4096 channels, moved back to stride 4 and 256 channels, and read by a head of 7x7 and 1x1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from autolabel.config.networks import ModelConfig
from autolabel.models import SegmentationModel, build_model
from autolabel.models.heads.deeplabv3plus import DeeperLabHead
from autolabel.models.trunks import build_trunk

Map = npt.NDArray[np.float64]  # (C, H, W)
EPS = 1e-5


@pytest.fixture(scope="module", params=["resnet_tiny", "resnet_tiny_os16"])  # blocks of 2 x 2 and of 4 x 4 pixels
def model(request: pytest.FixtureRequest) -> SegmentationModel:
    """A float64 network with random norms."""
    torch.manual_seed(0)
    table = {"trunk": request.param, "head": "deeperlab", "fusion": "single", "key_channels": 6}
    model = build_model(table, 5).double().eval()
    for name, value in model.state_dict().items():
        if "norm" in name and value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5)
    return model


def space_to_depth(x: Map, block: int) -> Map:
    """A pixel's channels are those of a block of pixels: channel (c, row, column), the column fastest."""
    channels, height, width = x.shape
    out = np.empty((channels * block * block, height // block, width // block))
    for c, row, column in np.ndindex(channels, height, width):
        out[(c * block + row % block) * block + column % block, row // block, column // block] = x[c, row, column]
    return out


def depth_to_space(x: Map, block: int) -> Map:
    channels, height, width = x.shape
    out = np.empty((channels // block**2, height * block, width * block))
    for c, row, column in np.ndindex(out.shape):
        out[c, row, column] = x[(c * block + row % block) * block + column % block, row // block, column // block]
    return out


class Reference:
    """The decoder from the weights of the head, layer by layer."""

    def __init__(self, head: DeeperLabHead) -> None:
        self.weights = {key: value.numpy() for key, value in head.state_dict().items()}

    def normalised(self, name: str, x: Map) -> Map:
        w = {part: self.weights[f"{name}.{part}"][:, None, None] for part in ("weight", "bias")}
        mean, variance = (self.weights[f"{name}.running_{part}"][:, None, None] for part in ("mean", "var"))
        return (x - mean) / np.sqrt(variance + EPS) * w["weight"] + w["bias"]

    def point(self, name: str, x: Map) -> Map:
        return np.tensordot(self.weights[f"{name}.weight"][:, :, 0, 0], x, axes=1)

    def separable(self, name: str, x: Map) -> Map:
        """7x7 of every channel by itself with a border of zeros, norm, 1x1, norm, ReLU."""
        kernels = self.weights[f"{name}.depthwise.weight"][:, 0]
        padded = np.pad(x, ((0, 0), (3, 3), (3, 3)))
        deep = np.empty_like(x)
        for c, row, column in np.ndindex(x.shape):
            deep[c, row, column] = (padded[c, row : row + 7, column : column + 7] * kernels[c]).sum()
        wide = self.point(f"{name}.pointwise.conv", self.normalised(f"{name}.norm", deep))
        return np.maximum(self.normalised(f"{name}.pointwise.norm", wide), 0)

    def __call__(self, low: Map, pooled: Map, block: int) -> tuple[Map, Map]:
        high = np.maximum(self.normalised("high.norm", self.point("high.conv", pooled)), 0)
        joined = np.concatenate([high, space_to_depth(self.point("low", low), block)])
        fine = depth_to_space(self.separable("second", self.separable("first", joined)), block)
        return fine, self.point("classifier", self.separable("refine", fine)) + self.weights["classifier.bias"][
            :, None, None
        ]


def test_decoder_is_the_reference(model: SegmentationModel) -> None:
    pooled: list[torch.Tensor] = []
    model.head.aspp.register_forward_hook(lambda module, inputs, out: pooled.append(out))
    with torch.no_grad():
        trunk = model.trunk(torch.randn(1, 3, 64, 96, dtype=torch.float64))
        out = model.head(trunk)
    features, logits = Reference(model.head)(trunk.skips[4][0].numpy(), pooled[0][0].numpy(), model.trunk.stride // 4)
    assert features.shape == (6, 16, 24)
    assert logits.shape == (5, 16, 24)
    np.testing.assert_allclose(out.features[0].numpy(), features, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(out.logits[0].numpy(), logits, rtol=1e-10, atol=1e-10)


def test_moving_there_and_back_changes_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((3, 8, 12))
    assert np.array_equal(depth_to_space(space_to_depth(x, 4), 4), x)


@pytest.mark.parametrize(("trunk", "area", "ends"), [("resnet50_os16", 16, 2048), ("xception71", 4, 2048)])
def test_widths_and_weights_are_those_of_the_paper(trunk: str, area: int, ends: int) -> None:
    """At stride 16: 768 channels join, 4096 in the two large convolutions. At stride 8 a quarter of both."""
    with torch.device("meta"):
        built = build_trunk(trunk)
        head = DeeperLabHead(built, 19, width=ModelConfig(trunk=trunk).key_channels)
    joined, wide = 256 + 32 * area, 256 * area
    assert {16: (768, 4096), 4: (384, 1024)}[area] == (joined, wide)
    assert (head.first.depthwise.in_channels, head.second.depthwise.in_channels) == (joined, wide)

    def separable(inputs: int, outputs: int) -> int:
        return 49 * inputs + 2 * inputs + inputs * outputs + 2 * outputs

    pyramid = 2 * (ends * 256 + 2 * 256) + 3 * (9 * ends * 256 + 2 * 256) + 5 * 256 * 256 + 2 * 256
    expected = (
        pyramid + built.skip_channels[4] * 32 + separable(joined, wide) + separable(wide, wide) + separable(256, 256)
    )
    assert sum(p.numel() for p in head.parameters()) == expected + (256 + 1) * 19
