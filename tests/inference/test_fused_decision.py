"""The fused decision against the dense path: the same fusion on whole maps, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autolabel.inference import fused_decision
from autolabel.inference.decision import encode
from autolabel.inference.fused_decision import encode_fused, fused_logits, fused_rows
from autolabel.labels.codebook import Codebook
from autolabel.models import build_model
from autolabel.models.fusion import FUSIONS, Fusion, ScaledOutput, StridedOutput
from autolabel.models.resize import resize, scaled_size


class Lowest(Fusion):
    """Uses the lowest scale only. It has no terms, like a fusion that a user may add."""

    def fuse(self, outputs: Sequence[ScaledOutput]) -> Tensor:
        size = next(m.logits.shape[-2:] for m in outputs if m.scale == 1)
        return resize(min(outputs, key=lambda m: m.scale).logits, size)

    def weights(self, outputs: Sequence[ScaledOutput]) -> dict[float, Tensor]:
        lowest = min(m.scale for m in outputs)
        return {m.scale: torch.full_like(m.logits[:, :1], float(m.scale == lowest)) for m in outputs}


SCALE_SETS = [(0.5, 1.0, 2.0), (0.25, 0.5, 1.0, 2.0), (0.75, 1.0, 1.5), (1.0,), (1.0, 1.5, 2.0), (0.3, 1.0, 1.7, 2.5)]


def random_maps(scales, size, *, classes=5, batch=1, seed=0, stride=4, explicit=False) -> list[StridedOutput]:
    """Random maps in the shape of a network's output, highest scale first, in float64."""
    generator = torch.Generator().manual_seed(seed)
    padded = -(-size[0] // stride) + 2, -(-size[1] // stride) + 2  # explicit attention as published
    maps = []
    for scale in sorted(scales, reverse=True):
        own = scaled_size(size, scale)
        raw = -(-own[0] // stride), -(-own[1] // stride)
        logits = 3 * torch.randn(batch, classes, *raw, generator=generator, dtype=torch.float64)
        attention = torch.rand(batch, 1, *(padded if explicit else raw), generator=generator, dtype=torch.float64)
        maps.append(StridedOutput(scale, logits, attention, own, size if explicit else own))
    return maps


def single(maps: list[StridedOutput]) -> list[StridedOutput]:
    return [raw._replace(logits=raw.logits.float(), attention=raw.attention.float()) for raw in maps]


def near_a_border(logits: Tensor, book: Codebook, margin: float = 1e-6) -> Tensor:
    """Where float32 may round to the other side of a tie or an edge: (B, H, W) of float64 logits."""
    top = logits.topk(min(3 if book.second_below else 2, logits.shape[1]), dim=1).values
    p = logits.softmax(1).amax(1)
    edges = torch.tensor(book.edges, dtype=torch.float64).view(-1, 1, 1, 1)
    tie = (top[:, :-1] - top[:, 1:] < margin).any(1)
    return tie | ((p / edges - 1).abs() < margin * logits.abs().amax()).any(0)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(SCALE_SETS),
    st.tuples(st.integers(1, 50), st.integers(1, 70)),
    st.sampled_from(["hierarchical", "average"]),
    st.integers(1, 2),
    st.integers(0, 99),
)
def test_rows_are_those_of_the_dense_fusion(scales, size, fusion: str, views: int, seed: int) -> None:
    maps = [random_maps(scales, size, batch=2, seed=seed + view) for view in range(views)]
    rows = fused_rows(FUSIONS[fusion], maps)
    dense = fused_logits(FUSIONS[fusion], maps)
    assert rows.shape == dense.shape
    strips = [rows.rows(top, min(top + 7, size[0])) for top in range(0, size[0], 7)]
    torch.testing.assert_close(torch.cat(strips, dim=2), dense, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(37, 50), (64, 96)])
def test_rows_of_explicit_fusion(size: tuple[int, int]) -> None:
    maps = [random_maps((0.5, 1.0, 2.0), size, explicit=True)]
    dense = fused_logits(FUSIONS["explicit"], maps)
    torch.testing.assert_close(fused_rows(FUSIONS["explicit"], maps).rows(0, size[0]), dense, rtol=0, atol=1e-12)
    single_scale = [[maps[0][1]._replace(attention=None)]]
    rows = fused_rows(FUSIONS["explicit"], single_scale)
    torch.testing.assert_close(rows.rows(3, 9), fused_logits(FUSIONS["explicit"], single_scale)[:, :, 3:9])


@pytest.mark.slow
@pytest.mark.parametrize("scales", SCALE_SETS, ids=str)
@pytest.mark.parametrize(
    ("book", "size"),
    [
        (Codebook(19), (96, 160)),
        (Codebook(40), (61, 83)),
        (Codebook(1), (8, 9)),
        (Codebook(2), (1, 1)),
        (Codebook(19, second_below=0.9), (61, 83)),
    ],
)
def test_codes_are_those_of_float64(scales, book: Codebook, size: tuple[int, int]) -> None:
    classes = book.num_classes
    maps = random_maps(scales, size, classes=classes, batch=2)
    codes = encode_fused(FUSIONS["hierarchical"], [single(maps)], book)
    dense = fused_logits(FUSIONS["hierarchical"], [maps])
    close = near_a_border(dense, book)
    assert close.double().mean() < 1e-3 or classes == 1
    assert torch.equal(codes[~close].int(), encode(dense, book)[~close].int())


def test_a_batch_gives_the_codes_of_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image has several strips; their borders differ between batch sizes."""
    book = Codebook(19)
    maps = single(random_maps((0.5, 1.0, 2.0), (40, 64), classes=19, batch=3))
    whole = encode_fused(FUSIONS["hierarchical"], [maps], book)
    monkeypatch.setattr(fused_decision, "strips", lambda height, width, device: ((t, t + 1) for t in range(height)))
    assert torch.equal(encode_fused(FUSIONS["hierarchical"], [maps], book), whole)
    for i in range(3):
        one = [m._replace(logits=m.logits[i : i + 1], attention=m.attention[i : i + 1]) for m in maps]
        assert torch.equal(encode_fused(FUSIONS["hierarchical"], [one], book)[0], whole[i])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_values_spread_as_in_the_dense_path(value: float) -> None:
    book = Codebook(5)
    maps = single(random_maps((0.5, 1.0, 2.0), (64, 96)))
    clean = encode_fused(FUSIONS["hierarchical"], [maps], book)
    maps[1].logits[0, 3, 5, 7] = value
    codes = encode_fused(FUSIONS["hierarchical"], [maps], book)
    assert torch.equal(codes, encode(fused_logits(FUSIONS["hierarchical"], [maps]), book))
    spoilt = codes == book.invalid
    assert 0 < int(spoilt.sum()) <= 64
    assert torch.equal(codes[~spoilt], clean[~spoilt])


def test_memory_is_that_of_strips() -> None:
    """There is no fused map of full size: only one strip is computed at a time."""
    maps = single(random_maps((0.5, 1.0, 2.0), (256, 512), classes=19))
    requested: list[int] = []
    rows = fused_rows(FUSIONS["hierarchical"], [maps])
    compute = rows.rows
    rows.rows = lambda top, bottom: requested.append(bottom - top) or compute(top, bottom)  # type: ignore[method-assign]
    fused_decision._encode_rows(rows, Codebook(19))
    assert sum(requested) == 256
    assert max(requested) * 512 <= 1 << 16


def subclass_of(name: str) -> Fusion:
    """A fusion with its own formula that inherits from a fusion with terms."""
    return type("Derived", (type(FUSIONS[name]),), {"fuse": Lowest.fuse})()


@pytest.mark.parametrize(
    "fusion", [Lowest(), *map(subclass_of, FUSIONS)], ids=["lowest", *(f"of_{name}" for name in FUSIONS)]
)
def test_on_cuda_a_fusion_without_terms_is_decided_by_its_own_formula(
    fusion: Fusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FUSIONS, "lowest", fusion)
    monkeypatch.setattr(fused_decision, "_has_kernel", lambda logits: True)
    small = {"trunk": "hrnet_tiny", "head_channels": 8, "key_channels": 4, "attention_channels": 4}
    added = build_model({**small, "fusion": "lowest"}, 5).fusion
    book, maps = Codebook(5), random_maps((0.5, 1.0, 2.0), (24, 36))
    dense = fused_logits(added, [maps])
    codes = encode_fused(added, [single(maps)], book)
    far = ~near_a_border(dense, book)
    assert torch.equal(codes[far], encode(dense, book)[far])
    for name in ("hierarchical", "average"):
        assert (codes != encode(fused_logits(FUSIONS[name], [maps]), book)).double().mean() > 0.1, name


def test_every_fusion_has_terms() -> None:
    """A fusion without terms would be slow on CUDA, and no other test would notice."""
    for name in FUSIONS:
        maps = random_maps((0.5, 1.0, 2.0), (9, 14), explicit=name == "explicit")
        assert len(FUSIONS[name].terms(maps)) == 3, name
    assert FUSIONS["hierarchical"].terms(random_maps((1.0, 1.5, 2.0), (9, 14))) is None
