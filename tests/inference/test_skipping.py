"""Attention-guided skipping: nothing skipped is the dense path bit for bit, all skipped the lower scales alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from autolabel.errors import ConfigError
from autolabel.inference import evidence, skipping
from autolabel.inference.branch_conv import JoinedConv, conv_with, resized_and_joined
from autolabel.inference.engine import infer_chunks
from autolabel.inference.fused import decide_fused
from autolabel.inference.prepare import prepare
from autolabel.inference.skip_stats import Skipped, SkipStats, SkipWatch, spread, total
from autolabel.inference.skipping import needed_tiles, skipping_view
from autolabel.inference.teacher import Halving, Teacher
from autolabel.inference.tiles import JoinedPatches, Patches
from autolabel.labels.codes import CodeBook
from autolabel.models import SegmentationModel, WeightsCard, build_model
from autolabel.models.fusion import RawMaps

TABLE = {"trunk": "hrnet_tiny", "head_channels": 16, "key_channels": 8, "attention_channels": 8}
BOOK = CodeBook(5)
SCALES = [2.0, 1.0, 0.5]
SIZE = (72, 120)  # at scale 2 the head's map is 36 x 60: its last tiles are cut


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    """Prepared, in float64 where nothing says otherwise; classes that differ."""
    torch.manual_seed(0)
    model = build_model(TABLE, 5)
    with torch.no_grad():
        model.head.classifier.weight.normal_(0, 1)
    return model


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def choose(monkeypatch: pytest.MonkeyPatch, needed: Tensor) -> None:
    """These tiles, whatever attention says."""
    real = needed_tiles

    def chosen(*args):
        return real(*args)._replace(needed=needed.numpy())

    monkeypatch.setattr(skipping, "needed_tiles", chosen)


@pytest.mark.parametrize("scales", [SCALES, [2.0, 1.5, 1.0], [1.0, 0.5], [1.0], [1.7, 1.0, 0.3]], ids=str)
def test_what_skips_nothing_is_dense_bit_for_bit(model, images, scales) -> None:
    prepared = prepare(model)
    with torch.no_grad():
        view, count = skipping_view(prepared, images, scales, 1e-9)
        dense = prepared.raw_maps(images, scales)
    for found, expected in zip(view, dense, strict=True):
        assert torch.equal(found.logits, expected.logits)
        assert (found.attention is None) == (expected.attention is None)
        assert found.attention is None or torch.equal(found.attention, expected.attention)
    assert count == Skipped(0, 2 * int(SIZE[0] * scales[0]) * int(SIZE[1] * scales[0]))


@pytest.mark.parametrize("scales", [SCALES, [2.0, 1.5, 1.0], [1.0, 0.5], [1.7, 1.0, 0.3]], ids=str)
def test_all_skipped_is_the_fusion_of_the_lower_scales(model, images, scales) -> None:
    prepared = prepare(model.double(), dtype=torch.float64)
    with torch.no_grad():
        view, count = skipping_view(prepared, images.double(), scales, 1.1)
        lower = [skipping._pass(prepared, images.double(), scale) for scale in scales[1:]]
    model.float()
    if 1.0 not in scales[1:]:  # the output size
        size = SIZE
        alone = skipping.resize(lower[0].resized().logits, size)
        found = prepared.fusion.fuse([raw.resized() for raw in view])
        torch.testing.assert_close(found, alone, rtol=0, atol=1e-9)
    else:
        found = prepared.fusion.fuse([raw.resized() for raw in view])
        torch.testing.assert_close(found, prepared.fusion.fuse([raw.resized() for raw in lower]), rtol=0, atol=1e-9)
    assert count.skipped == count.pixels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("split", [True, False])
def test_patches_are_those_of_the_whole_map(model, images, dtype, split: bool) -> None:
    """Tiles and small patches, at borders too, with either form of the convolution."""
    prepared = prepare(model)
    if not split:
        conv = prepared.head.patch_pixels
        channels = prepared.trunk.trunk.branch_channels
        prepared.head.pixels = JoinedConv(conv_with(conv.weight, conv.bias, padding=1), channels)
    prepared = prepared.to(dtype)
    with torch.no_grad():
        branches = prepared.trunk(images.to(dtype).contiguous(memory_format=torch.channels_last))
        features = torch.relu(prepared.head.pixels(branches))
        aux = prepared.head(branches).aux
        height, width = features.shape[-2:]
        for size, top, left in ((16, [0, 0, 16], [0, 16, 16]), (2, [0, 7, height - 2], [5, 0, width - 2])):
            where = Patches(np.array([1, 0, 1]), np.array(top), np.array(left), size)
            found = prepared.head.patches(branches, where)
            for values, whole in zip(found, (features, aux), strict=True):
                for i, inside in enumerate(where.inside(height, width)):
                    expected = whole[where.image[i], :, top[i] : top[i] + size, left[i] : left[i] + size]
                    kept = values[i, :, : expected.shape[1], : expected.shape[2]]
                    assert inside.sum() == expected[0].numel()
                    torch.testing.assert_close(kept, expected, rtol=1e-4, atol=1e-4 if dtype == torch.float32 else 1e-9)


def test_joined_patches_at_odd_ratios() -> None:
    torch.manual_seed(0)
    branches = [torch.randn(1, 3, *size, dtype=torch.float64) for size in ((45, 37), (23, 19), (12, 10), (6, 5))]
    where = Patches(np.zeros(4, np.int64), np.array([0, 16, 32, 8]), np.array([0, 16, 32, 3]), 16)
    whole = torch.nn.functional.pad(resized_and_joined(branches), (1, 20, 1, 20))
    found = JoinedPatches(branches, where, margin=1)[0:4]
    for i in range(4):
        expected = whole[0, :, where.top[i] : where.top[i] + 18, where.left[i] : where.left[i] + 18]
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-12)


def test_some_tiles(model, images, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image in part, one not at all: what is computed differs from the dense pass by OCR's context alone, which
    a head without context does not have; the rest is the lower scale's, with its attention at 1."""
    needed = torch.zeros(2, 3, 4, dtype=torch.bool)
    needed[0, 0, 1] = needed[0, 2, 3] = needed[0, 1, 1] = True
    choose(monkeypatch, needed)
    prepared = prepare(model)
    prepared.head.merge_context.weight.zero_()  # what OCR reads has no say
    with torch.no_grad():
        (top, middle, low), count = skipping_view(prepared, images, SCALES, 0.5)
        dense = prepared.raw_maps(images, SCALES)
    mask = needed.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None, :36, :60]
    computed = mask.expand_as(top.logits)
    torch.testing.assert_close(top.logits[computed], dense[0].logits[computed], rtol=1e-4, atol=1e-4)
    fill = torch.nn.functional.interpolate(dense[1].logits, size=(36, 60), mode="bilinear", align_corners=False)
    assert torch.equal(top.logits[~computed], fill[~computed])
    at_one = mask[:, :, ::2, ::2]
    assert torch.equal(middle.attention, dense[1].attention.masked_fill(~at_one, 1))
    assert torch.equal(low.attention, dense[2].attention)
    assert count == Skipped(2 * 144 * 240 - (2 * 64 * 64 + 16 * 48), 2 * 144 * 240)


def test_context_of_the_whole_image_is_exact_where_nothing_varies(model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grey image: a sample of a tile says all of it, but for the image's borders."""
    needed = torch.ones(1, 8, 12, dtype=torch.bool)
    needed[0, 4, 5] = False
    choose(monkeypatch, needed)
    prepared = prepare(model)
    grey = torch.full((1, 3, 256, 384), 0.3)
    with torch.no_grad():
        (top, *_), _ = skipping_view(prepared, grey, SCALES, 0.5)
        dense = prepared.raw_maps(grey, SCALES)[0].logits
    torch.testing.assert_close(top.logits[:, :, :64], dense[:, :, :64], rtol=1e-3, atol=1e-4)


def test_attention_and_margin_decide(model) -> None:
    """Tiles where the weight left is high, and of those not where a class leads by far."""
    below = []
    for scale, size in ((1.0, (64, 64)), (0.5, (32, 32))):
        logits, attention = torch.zeros(1, 5, *size), torch.full((1, 1, *size), 0.5)
        half = size[0] // 2
        attention[..., :half] = 1.0  # left: nothing is left for the highest scale
        logits[:, 2, :half] = 100.0  # above: sure
        below.append(RawMaps(scale, logits, attention, (4 * size[0], 4 * size[1]), (4 * size[0], 4 * size[1])))
    needed = needed_tiles(model, below, (512, 512), 0.2).needed[0]
    assert not needed[:4].any()
    assert not needed[:, :3].any()
    assert needed[5:, 5:].all()
    assert needed_tiles(model, below, (512, 512), 0.3).needed.sum() == 0, "weight left is a quarter"
    assert needed_tiles(model, below, (512, 512), 1e-6).needed.mean() < 0.7


def test_codes_are_a_function_of_the_image(model, images) -> None:
    card = WeightsCard(table=model.table, class_names=tuple("abcde"))
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8))
    teacher = Teacher(model, card, BOOK, scales=SCALES, flip=True, skip=0.05)
    first = teacher(noise[:1])
    counts = teacher.take_skipped()
    assert 0 < counts.skipped < counts.pixels == 2 * 144 * 240
    assert teacher.take_skipped() == Skipped()
    assert torch.equal(teacher(noise[:1]), first)
    assert (teacher(noise)[0] != first[0]).double().mean() < 1e-3
    plain = Teacher(model, card, BOOK, scales=SCALES, flip=True)
    assert torch.equal(teacher.dense(noise), plain(noise))
    assert torch.equal(
        decide_fused(model.fusion, [plain.evidence.model.raw_maps(images, SCALES)], BOOK)[0],
        decide_fused(model.fusion, [skipping_view(plain.evidence.model, images, SCALES, 1e-9)[0]], BOOK)[0],
    )


def test_images_come_again_where_memory_ran_out_and_count_once(model, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(fusion, views, book):
        if len(views[0][0].logits) > 1:
            raise torch.OutOfMemoryError
        return decide_fused(fusion, views, book)

    monkeypatch.setattr(evidence, "decide_fused", small)
    card = WeightsCard(table=model.table, class_names=tuple("abcde"))
    teacher = Teacher(model, card, BOOK, scales=SCALES, skip=0.05)
    Halving(teacher)(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)))
    assert teacher.take_skipped().pixels == 3 * 144 * 240


def test_bf16_and_several_groups_of_tiles(model, monkeypatch: pytest.MonkeyPatch) -> None:
    card = WeightsCard(table=model.table, class_names=tuple("abcde"))
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8))
    teacher = Teacher(model, card, BOOK, scales=SCALES, precision="bf16", skip=0.05)
    codes = teacher(noise)
    counts = teacher.take_skipped()
    assert 0 < counts.skipped < counts.pixels
    single = Teacher(model, card, BOOK, scales=SCALES, skip=0.05)(noise)
    assert (BOOK.classes_and_bins(codes.numpy())[0] != BOOK.classes_and_bins(single.numpy())[0]).mean() < 0.1
    monkeypatch.setattr(skipping, "_QUANTILES", 5)
    assert torch.equal(teacher(noise), codes)


@dataclass(frozen=True)
class Row:
    id: str
    height: int = SIZE[0]
    width: int = SIZE[1]


def test_the_engine_counts_by_chunk_and_checks_a_sample(model) -> None:
    card = WeightsCard(table=model.table, class_names=tuple("abcde"))
    teacher = Teacher(model, card, BOOK, scales=SCALES, skip=0.05)
    rows = [Row(f"{i}") for i in range(5)]

    def load(row: Row) -> np.ndarray:
        return np.random.default_rng(int(row.id)).integers(0, 256, (*SIZE, 3), dtype=np.uint8)

    def run(chunks, **settings) -> list[SkipStats]:
        watch = SkipWatch(teacher.take_skipped, teacher.dense, BOOK, spread([row.id for row in rows], 2))
        return [found.skip for found in infer_chunks(teacher, chunks, load=load, skip_watch=watch, **settings)]

    by_two = run([(0, rows[:2]), (1, rows[2:4]), (2, rows[4:])])
    assert [stats.skipped.pixels for stats in by_two] == [2 * 144 * 240, 2 * 144 * 240, 144 * 240]
    assert [stats.agreement.images for stats in by_two] == [1, 1, 0], "the second and the fourth"
    whole = run([(0, rows)], decoders=3)
    assert total(by_two) == whole[0]
    assert 0 < whole[0].agreement.same_label <= whole[0].agreement.pixels == 2 * SIZE[0] * SIZE[1]
    assert SkipStats.from_row(whole[0].to_row()) == whole[0]


def test_a_sample_is_spread_over_all() -> None:
    assert spread([str(i) for i in range(100)], 4) == ["12", "37", "62", "87"]
    assert spread(["a", "b"], 8) == ["a", "b"]
    assert spread([], 8) == []


@pytest.mark.parametrize("change", [{"fusion": "average"}, {"head": "conv"}])
def test_networks_without_what_it_takes_are_refused(change) -> None:
    model = build_model(TABLE | change, 5)
    with pytest.raises(ConfigError, match=r"infer\.skip: the network is no HRNet with OCR and hierarchical attention"):
        Teacher(model, WeightsCard(table=model.table, class_names=tuple("abcde")), BOOK, scales=SCALES, skip=0.1)
