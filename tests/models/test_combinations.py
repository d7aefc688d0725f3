"""Trunk x head x fusion: which are built, which are refused, and that the built ones learn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from autolabel.config.networks import ModelConfig
from autolabel.errors import ConfigError
from autolabel.models import SegmentationModel
from autolabel.models.fusion import FUSIONS as KNOWN_FUSIONS
from autolabel.models.heads import HEADS, HeadOutput, build_head
from autolabel.models.trunks import TRUNKS, build_trunk
from tests.models.overfitting import (
    FITTING,
    FUSIONS,
    Combination,
    combinations_of,
    covering,
    documented,
    fit_one_batch,
    marked,
    pairs,
    small,
)

COMBINATIONS = combinations_of(FITTING)
PAIRS = covering(COMBINATIONS)
OF_EACH_HEAD = [c for c in PAIRS if c[0] in ("hrnet_tiny", "resnet_tiny_os16")]


def build(trunk: str, head: str, fusion: str) -> SegmentationModel:
    return small((trunk, head, fusion))


def test_documented_table_is_what_fits() -> None:
    """Every trunk is in it, with its reduced form; the reduced ones are those trained below."""
    table = {trunk: heads for trunk, heads in documented().items() if not trunk.startswith("timm:")}
    assert set(table) == set(TRUNKS)
    assert {trunk: table[trunk] for trunk in FITTING} == FITTING
    assert set(FUSIONS) == set(KNOWN_FUSIONS)
    assert {trunk for trunk in TRUNKS if "tiny" in trunk} == set(FITTING)


@pytest.mark.slow
@pytest.mark.parametrize("trunk", sorted(TRUNKS))
def test_what_fits_is_built_at_full_width_and_the_rest_refused(trunk: str) -> None:
    fitting = documented()[trunk]
    with torch.device("meta"):
        built = build_trunk(trunk)
        for head in HEADS:
            table = ModelConfig(trunk=trunk, head=head)
            if head in fitting:
                channels = build_head(built, 19, table).channels
                attentions = {name: fusion.head(channels, table) for name, fusion in KNOWN_FUSIONS.items()}
                assert {name for name, module in attentions.items() if module} == {"hierarchical", "explicit"}
                continue
            refused = rf"model\.head: '{head}' does not fit trunk '{trunk}': it (needs|upsamples) .*; heads for this"
            with pytest.raises(ConfigError, match=refused):
                build_head(built, 19, table)


def test_every_pair_of_parts_is_trained() -> None:
    assert set().union(*map(pairs, PAIRS)) == set().union(*map(pairs, COMBINATIONS))
    assert len(PAIRS) < len(COMBINATIONS) / 3


@pytest.mark.slow
@pytest.mark.parametrize("combination", marked(COMBINATIONS), ids="-".join)
def test_twenty_steps_fit_one_batch(combination: Combination) -> None:
    fit = fit_one_batch(small(combination))
    print(fit.line(combination))
    fit.check()


def see_nothing(model: SegmentationModel) -> None:
    model.trunk.register_forward_pre_hook(lambda trunk, inputs: (torch.zeros_like(inputs[0]),))


def learn_no_head(model: SegmentationModel) -> None:
    model.head.requires_grad_(False)


def mix_columns(model: SegmentationModel) -> None:
    def mixed(head: object, inputs: object, out: HeadOutput) -> HeadOutput:
        return out._replace(logits=out.logits[..., torch.randperm(out.logits.shape[3])])

    model.head.register_forward_hook(mixed)


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [see_nothing, learn_no_head, mix_columns])
def test_a_broken_network_does_not_fit(spoil: Callable[[SegmentationModel], None]) -> None:
    """Classes by their frequency, or by the row of a pixel, are not enough."""
    model = small(("resnet_tiny_os16", "deeplabv3plus", "single"))
    spoil(model)
    with pytest.raises(AssertionError):
        fit_one_batch(model).check()


@pytest.mark.slow
@pytest.mark.parametrize("combination", OF_EACH_HEAD, ids="-".join)
@pytest.mark.parametrize("size", [(1, 1), (37, 50)])
def test_any_image_size(combination: Combination, size: tuple[int, int]) -> None:
    model = small(combination).eval()
    with torch.no_grad():
        out = model(torch.randn(1, 3, *size))
    assert out.fused.shape == (1, 9, *size)
    for logits in (out.fused, *out.per_scale.values()):
        assert logits.shape == (1, 9, *size)
        assert logits.isfinite().all()


def test_explicit_trains_on_its_three_scales() -> None:
    out = build("resnet_tiny", "ocr", "explicit").eval()(torch.randn(1, 3, 33, 40))
    assert set(out.per_scale) == {0.5, 1.0, 2.0}
    assert out.fused_aux is not None
    assert out.fused_aux.shape == (1, 9, 33, 40)


@pytest.mark.parametrize("scales", [[0.5, 1.0], [0.25, 0.5, 1.0, 2.0], [1.0, 2.0]])
def test_explicit_refuses_scales_it_has_not_learnt(scales: list[float]) -> None:
    model = build("resnet_tiny", "conv", "explicit").eval()
    with pytest.raises(ConfigError, match=r"scales: .* do not fit explicit fusion.*\[0\.5, 1\.0, 2\.0\]; use those"):
        model.scale_maps(torch.randn(1, 3, 16, 16), scales)


def test_padding_for_strides_is_cut_off_again() -> None:
    """Where the strides divide the image nothing is padded; elsewhere the result is that of the padded image."""
    model = build("wide_resnet_tiny", "deeper", "single").eval()
    images = torch.randn(1, 3, 37, 50)
    with torch.no_grad():
        out = model.forward_scale(images)
        padded = model.forward_scale(torch.nn.functional.pad(images, (0, 6, 0, 3)))
    assert padded.logits.shape == (1, 9, 20, 28)
    assert torch.equal(out.logits, padded.logits[..., :19, :25])


def test_pooling_of_one_image_cannot_be_normalised() -> None:
    with pytest.raises(ConfigError, match="batch: ASPP's image pooling cannot train on one image; use at least 2"):
        build("resnet_tiny", "deeplabv3plus", "single").train()(torch.randn(1, 3, 32, 32))
