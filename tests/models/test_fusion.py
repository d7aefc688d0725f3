"""Fusion against loops in float64 that follow the paper's chain one pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.models import build_model
from autolabel.models.fusion import FUSIONS, ExplicitAttention, ScaledOutput, fuse_pair
from autolabel.models.resize import resize, scaled_size


def axis(source: int, target: int) -> list[tuple[int, int, float]]:
    """For each target pixel: its two neighbours and the share of the second; half-pixel centres, clamped edges."""
    result = []
    for i in range(target):
        x = max(0.0, (i + 0.5) * source / target - 0.5)
        low = min(int(x), source - 1)
        result.append((low, min(low + 1, source - 1), x - int(x)))
    return result


def bilinear(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(C, h, w) -> (C, *size), a pixel at a time."""
    out = np.empty((x.shape[0], *size))
    for i, (top, bottom, v) in enumerate(axis(x.shape[1], size[0])):
        for j, (left, right, u) in enumerate(axis(x.shape[2], size[1])):
            above = x[:, top, left] * (1 - u) + x[:, top, right] * u
            below = x[:, bottom, left] * (1 - u) + x[:, bottom, right] * u
            out[:, i, j] = above * (1 - v) + below * v
    return out


def chain(maps: dict[float, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """From the highest scale to the lowest (PARITY.md, "Resizing and fusion")."""
    scales = sorted(maps, reverse=True)
    fused = maps[scales[0]][0]
    for scale in scales[1:]:
        logits, attention = maps[scale]
        if scale >= 1:
            fused = attention * logits + (1 - attention) * bilinear(fused, logits.shape[1:])
        else:
            size = fused.shape[1:]
            fused = bilinear(attention * logits, size) + (1 - bilinear(attention, size)) * fused
    return fused


def random_maps(scales: list[float], size: tuple[int, int], seed: int, *, flat: bool = False) -> list[ScaledOutput]:
    rng = np.random.default_rng(seed)
    maps = []
    for scale in scales:
        h, w = scaled_size(size, scale)
        logits = np.broadcast_to(rng.normal(size=(1, 3, 1, 1)), (1, 3, h, w)) if flat else rng.normal(size=(1, 3, h, w))
        attention = rng.uniform(size=(1, 1, h, w))
        maps.append(ScaledOutput(scale, torch.tensor(logits), torch.tensor(attention)))
    return maps


SCALE_SETS = st.lists(st.sampled_from([0.25, 0.5, 0.75, 1.5, 2.0]), unique=True, max_size=4).map(lambda s: [*s, 1.0])
SIZES = st.tuples(st.integers(1, 11), st.integers(1, 11))


@settings(max_examples=40, deadline=None)
@given(scales=SCALE_SETS, size=SIZES, seed=st.integers(0, 9))
def test_chain_of_scales(scales: list[float], size: tuple[int, int], seed: int) -> None:
    maps = random_maps(scales, size, seed)
    expected = chain({m.scale: (m.logits[0].numpy(), m.attention[0].numpy()) for m in maps})
    fused = FUSIONS["hierarchical"].fuse(maps)
    assert fused.shape == (1, 3, *size)
    np.testing.assert_allclose(fused[0].numpy(), expected, rtol=0, atol=1e-12)


def test_pair_multiplies_before_it_resizes() -> None:
    low, high = random_maps([0.5, 1.0], (7, 9), 0)
    expected = chain({m.scale: (m.logits[0].numpy(), m.attention[0].numpy()) for m in (low, high)})
    fused = fuse_pair(low.logits, low.attention, high.logits)
    np.testing.assert_allclose(fused[0].numpy(), expected, rtol=0, atol=1e-12)
    wrong = (
        resize(low.attention, (7, 9)) * resize(low.logits, (7, 9)) + (1 - resize(low.attention, (7, 9))) * high.logits
    )
    assert (wrong - fused).abs().max() > 1e-2


@settings(max_examples=30, deadline=None)
@given(scales=SCALE_SETS, size=SIZES, seed=st.integers(0, 9), name=st.sampled_from(["average", "hierarchical"]))
def test_weights_sum_to_one_and_rebuild_the_fusion(
    scales: list[float], size: tuple[int, int], seed: int, name: str
) -> None:
    maps = random_maps(scales, size, seed, flat=True)
    weights = FUSIONS[name].weights(maps)
    assert set(weights) == set(scales)
    assert all(w.shape == (1, 1, *size) for w in weights.values())
    assert all(w.min() >= 0 and w.max() <= 1 for w in weights.values())
    torch.testing.assert_close(sum(weights.values()), torch.ones(1, 1, *size).double())
    rebuilt = sum(weights[m.scale] * resize(m.logits, size) for m in maps)
    torch.testing.assert_close(rebuilt, FUSIONS[name].fuse(maps))


def test_the_highest_scale_needs_no_attention() -> None:
    maps = random_maps([0.5, 1.0, 2.0], (6, 8), 1)
    bare = [m._replace(attention=None) if m.scale == 2 else m for m in maps]
    assert torch.equal(FUSIONS["hierarchical"].fuse(bare), FUSIONS["hierarchical"].fuse(maps))
    assert torch.equal(FUSIONS["hierarchical"].weights(bare)[2.0], FUSIONS["hierarchical"].weights(maps)[2.0])


def test_average_is_the_mean_at_the_output_size() -> None:
    maps = random_maps([0.5, 1.0, 2.0], (5, 7), 2)
    expected = np.mean([bilinear(m.logits[0].numpy(), (5, 7)) for m in maps], axis=0)
    np.testing.assert_allclose(FUSIONS["single"].fuse(maps)[0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("scale", "size"), [(0.5, (48, 65)), (2.0, (194, 262)), (0.001, (1, 1)), (1.0, (97, 131))])
def test_scaled_sizes_are_floored(scale: float, size: tuple[int, int]) -> None:
    assert scaled_size((97, 131), scale) == size


def explicit_maps(seed: int) -> list[ScaledOutput]:
    """Attention of any sign, at the size of scale 1.0."""
    rng = np.random.default_rng(seed)
    maps = random_maps([0.5, 1.0, 2.0], (5, 7), seed)
    return [m._replace(attention=torch.tensor(rng.normal(size=(1, 1, 5, 7)))) for m in maps]


def test_explicit_is_the_weighted_sum_at_the_output_size() -> None:
    maps = explicit_maps(3)
    expected = sum(bilinear(m.logits[0].numpy(), (5, 7)) * m.attention[0].numpy() for m in maps)
    np.testing.assert_allclose(FUSIONS["explicit"].fuse(maps)[0].numpy(), expected, atol=1e-12)
    assert all(torch.equal(FUSIONS["explicit"].weights(maps)[m.scale], m.attention) for m in maps)


def test_explicit_with_scale_one_alone_is_its_logits() -> None:
    (at_one,) = random_maps([1.0], (5, 7), 4)
    alone = at_one._replace(attention=None)
    assert torch.equal(FUSIONS["explicit"].fuse([alone]), alone.logits)


def test_softmax_over_scales_weighs_to_one() -> None:
    """Chen's form; the published one is padded by one and sums to anything."""
    features = {s: torch.randn(2, 6, *scaled_size((8, 10), s)) for s in (0.5, 1.0, 2.0)}
    chen = ExplicitAttention(6, 8, softmax=True)(features)
    torch.testing.assert_close(chen.sum(dim=1), torch.ones(2, 8, 10))
    assert ExplicitAttention(6, 8)(features).shape == (2, 3, 10, 12)


def test_the_setting_chooses_chen_s_form() -> None:
    small = {"head_channels": 8, "key_channels": 4, "attention_channels": 4}
    table = {"trunk": "hrnet_tiny", "fusion": "explicit", **small}
    assert not build_model(table, 3).attention.softmax
    assert build_model({**table, "softmax": True}, 3).attention.softmax
