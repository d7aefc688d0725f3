"""Parameters and FLOPs against the published figures, the seed's training costs, and a count by hand."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from autolabel.errors import ConfigError
from autolabel.inference.optimize import prepare
from autolabel.losses import training_loss
from autolabel.models import build_model
from autolabel.models.flops import Cost, PartCounts, count_labelling, count_training
from autolabel.models.resize import scaled_size
from autolabel.models.trunks import TRUNKS
from autolabel.models.trunks.efficientnet import SqueezeExcite

CITYSCAPES = (1024, 2048)
# The others have the blocks of a smaller member of their family, only wider and more of them.
LARGER = {name for name in TRUNKS if name.startswith("efficientnet_") and "lite0" not in name and "tiny" not in name}
EACH = sorted(TRUNKS.keys() - {"hrnet_w48", "hrnet_w32"} - LARGER | {"efficientnet_b0"})
PUBLISHED = {"trunk": "hrnet_w48", "head": "ocr", "fusion": "hierarchical"}
SMALL = {"head_channels": 32, "key_channels": 32, "attention_channels": 16}


def giga(flops: float) -> int:
    return round(flops / 1e9)


@pytest.mark.slow
def test_the_published_network_costs_what_is_known_of_it() -> None:
    """method: 72,143,430 parameters; GFLOPs of one scale 3,060 (trunk 1,356, OCR 1,240, attention 464), of the
    training pair 3,825, of three scales 16,063. Those count the highest scale's attention, which we leave out."""
    pair = count_training(PUBLISHED, 19, CITYSCAPES)
    assert pair.scales == (0.5, 1.0)
    assert pair.parameters.total == 72_143_430
    assert giga(pair.flops.total + pair.skipped) == 3825
    assert [giga(n) for n in (pair.flops.trunk / 1.25, pair.flops.head / 1.25, pair.skipped)] == [1356, 1240, 464]
    three = count_labelling(PUBLISHED, 19, CITYSCAPES, (2.0, 0.5, 1.0))
    assert three.scales == (0.5, 1.0, 2.0)
    assert giga(three.flops.total + three.skipped) == 16_063
    assert three.flops.total / 1e12 == pytest.approx(14.21, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize(("fusion", "trunk_cost"), [("average", 1.0), ("explicit", 5.25), ("hierarchical", 1.25)])
def test_training_costs_of_the_seeds_table_are_counted(fusion: str, trunk_cost: float) -> None:
    table = {"trunk": "resnet50", "head": "deeplabv3plus"}
    single = count_training(table | {"fusion": "single"}, 19, CITYSCAPES)
    ours = count_training(table | {"fusion": fusion}, 19, CITYSCAPES)
    assert ours.flops.trunk / single.flops.trunk == trunk_cost
    assert ours.flops.head / single.flops.head == pytest.approx(trunk_cost, rel=0.001)  # its image pooling has no size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunk", "size"),
    [*((trunk, CITYSCAPES) for trunk in EACH), *((t, (713, 1001)) for t in EACH if "tiny" in t)],
)
def test_every_trunk_costs_its_share_of_pixels(trunk: str, size: tuple[int, int]) -> None:
    """1.25 and 5.25 times a single scale; sizes that the strides do not divide are rounded up."""

    def flops(scale: float) -> int:
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, *scaled_size(size, scale)))
        return counter.get_total_flops()

    with torch.device("meta"):
        network = TRUNKS[trunk]().eval()
    half, one, two = flops(0.5), flops(1.0), flops(2.0)
    # Squeeze-and-excitation costs the same at every size.
    apart = 0.02 if size != CITYSCAPES else 1e-3 if any(isinstance(m, SqueezeExcite) for m in network.modules()) else 0
    assert (half + one) / one == pytest.approx(1.25, rel=apart)
    assert (half + one + two) / one == pytest.approx(5.25, rel=apart)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunk", "head", "fusion"),
    [
        ("hrnet_tiny", "ocr", "hierarchical"),
        ("resnet_tiny_os16", "deeperlab", "explicit"),
        ("hrnet_tiny", "conv", "single"),
    ],
)
def test_counts_on_the_meta_device_are_those_of_a_real_pass(trunk: str, head: str, fusion: str) -> None:
    """Real weights and images give the same counts; the backward pass costs about twice the forward pass."""
    table = SMALL | {"trunk": trunk, "head": head, "fusion": fusion}
    model = build_model(table, 4).eval()
    images = torch.randn(1, 3, 70, 101)
    with FlopCounterMode(display=False) as counter:
        out = model(images)
    cost = count_training(table, 4, (70, 101))
    assert cost.flops.total == counter.get_total_flops()
    assert cost.parameters.total == sum(p.numel() for p in model.parameters())
    if head == "deeperlab":
        return  # torch's formula for the backward pass does not know its grouped convolutions
    with FlopCounterMode(display=False) as backward:
        training_loss(out, torch.zeros(1, 70, 101, dtype=torch.int64), loss="ce").backward()
    assert 1.9 < backward.get_total_flops() / counter.get_total_flops() <= 2


@pytest.mark.slow
def test_one_convolution_by_hand() -> None:
    """The 1x1 that ends in classes: 2 x inputs x classes x pixels at stride 4."""
    table = SMALL | {"trunk": "hrnet_tiny", "head": "conv", "fusion": "single"}
    two, three = (count_training(table, classes, (64, 128)) for classes in (2, 3))
    assert three.flops.head - two.flops.head == 2 * 32 * 16 * 32
    assert three.parameters.head - two.parameters.head == 32
    assert three._replace(parameters=two.parameters, flops=two.flops) == two
    assert two.flops.total == two.flops.trunk + two.flops.head
    assert Cost(PartCounts(1, 2, 3), (1.0,), PartCounts(4, 5, 6), 7).parameters.total == 6


@pytest.mark.slow
def test_a_prepared_network_is_counted_as_it_runs() -> None:
    """In OCR's auxiliary 1x1, branches at lower resolutions cover a 4th, a 16th and a 64th of the pixels."""
    table = SMALL | {"trunk": "hrnet_tiny", "head": "ocr", "fusion": "single"}
    plain = count_labelling(table, 3, (64, 128))
    lean = count_labelling(table, 3, (64, 128), prepare=partial(prepare, device="meta"))
    channels = (16, 24, 48, 96)
    auxiliary = 2 * sum(channels) * 16 * 32 * sum(c * (1 - 4.0**-level) for level, c in enumerate(channels))
    context = 2 * 32 * 32 * (16 * 32 - 3)  # the 1x1 after it reads class vectors instead of pixels
    assert plain.flops.head - lean.flops.head == auxiliary + context
    assert plain.flops.trunk == lean.flops.trunk


def test_scales_that_cannot_be_fused_are_refused() -> None:
    with pytest.raises(ConfigError, match="do not fit explicit fusion"):
        count_labelling(SMALL | {"trunk": "hrnet_tiny", "fusion": "explicit"}, 2, (64, 64), (0.5, 1.0))
