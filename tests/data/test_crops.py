from __future__ import annotations

import hashlib
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from autolabel.classes import CLASS_SETS
from autolabel.config.networks import AugmentConfig
from autolabel.data.crops import CropDataset, batches
from autolabel.data.loaders import CachedDataset, ManifestDataset, Sample, count_classes
from autolabel.data.sampling import EpochSampler, SamplingGroup, SamplingPhase
from autolabel.data.schema import ImageRow, LabelRow
from tests.data.image_files import encoded, ids, noise_image, put
from tests.helpers.hang import HANG_SECONDS


class Arrays:
    """Images in memory; counts how often each was asked for."""

    has_confidence = False

    def __init__(self, count: int = 4) -> None:
        rng = np.random.default_rng(0)
        self.pairs = [
            Sample(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), rng.integers(0, 3, (20, 30), dtype=np.uint8))
            for _ in range(count)
        ]
        self.asked = [0] * count
        self.read = threading.Semaphore(0)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        self.asked[index] += 1
        self.read.release()
        return self.pairs[index]


AUGMENT = AugmentConfig(blur=0.5)
MIXED = AugmentConfig(blur=0.5, cutmix=0.3, classmix=0.4)


def crops(seed: int = 1, augment: AugmentConfig = AUGMENT) -> CropDataset:
    phase = SamplingPhase(3, (SamplingGroup(range(4), (np.arange(4),) * 3),))
    return CropDataset(Arrays(), EpochSampler((phase,), seed, 6, 0.5), augment, (12, 16), 8, (124, 116, 104))


def drawn(
    start: int, stop: int, *, workers: int = 1, batch: int = 2, seed: int = 1, augment: AugmentConfig = AUGMENT
) -> list[torch.Tensor]:
    crop_set = crops(seed, augment)
    return [t for b in batches(crop_set, start=start, stop=stop, batch=batch, workers=workers) for t in b[:2]]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.mark.parametrize("workers", [2, 5])
def test_batches_do_not_depend_on_the_number_of_threads(workers: int) -> None:
    assert same(drawn(0, 18, augment=MIXED), drawn(0, 18, workers=workers, augment=MIXED))


def test_a_later_start_gives_the_rest_of_the_same_order() -> None:
    whole = drawn(0, 18)
    assert same(drawn(8, 18), whole[8:])
    assert not same(drawn(0, 18, seed=2), whole)


def test_a_later_start_reads_nothing_that_comes_before() -> None:
    crop_set = crops()
    list(batches(crop_set, start=8, stop=18, batch=2, workers=2))
    numbers = [divmod(number, 6) for number in range(8, 18)]
    read = Counter(crop_set.sampler.items(epoch)[position].index for epoch, position in numbers)
    assert crop_set.pairs.asked == [read[index] for index in range(4)]


def test_the_next_epoch_is_made_while_the_last_batch_of_one_is_trained_on() -> None:
    crop_set = crops()
    stream = batches(crop_set, start=0, stop=18, batch=3, workers=2)
    with closing(stream):
        next(stream), next(stream)  # the six samples of an epoch; nobody asks for more
        for _ in range(6 + 3):
            assert crop_set.pairs.read.acquire(timeout=HANG_SECONDS)


def test_a_short_last_batch_is_whole() -> None:
    images, labels = drawn(0, 5, batch=3)[2:]
    assert (len(images), len(labels)) == (2, 2)
    assert torch.equal(images, torch.cat(drawn(0, 5, batch=1)[::2])[3:])


def test_a_class_uniform_crop_shows_its_class() -> None:
    crop_set = crops()
    for number in range(60):
        class_id = crop_set.sampler.items(number // 6)[number % 6].class_id
        assert class_id is None or class_id in crop_set[number][1]


def test_samples_do_not_depend_on_the_batch_they_are_in() -> None:
    one, three = (torch.cat(drawn(0, 18, batch=size, augment=MIXED)[::2]) for size in (1, 3))
    assert torch.equal(one, three)


@pytest.mark.slow
def test_mixed_samples_are_the_plain_ones_where_nothing_is_pasted() -> None:
    (plain, plain_labels), (mixed, mixed_labels) = (
        (torch.cat(found[::2]), torch.cat(found[1::2])) for found in (drawn(0, 200), drawn(0, 200, augment=MIXED))
    )
    changed = (mixed != plain).any(dim=3)
    share = changed.flatten(1).double().mean(dim=1)
    assert 0.2 < (share == 0).double().mean() < 0.4  # 0.3 stay as they are
    assert (share < 1).all()
    assert torch.equal(mixed_labels[~changed], plain_labels[~changed])
    assert (mixed_labels != plain_labels).any()


def test_an_image_drawn_twice_gets_two_crops() -> None:
    images = torch.cat(drawn(0, 60)[::2])
    assert len({image.numpy().tobytes() for image in images}) == 60


class Confident(Arrays):
    """Confidence that tells the class and the image's number."""

    has_confidence = True

    def __getitem__(self, index: int) -> Sample:
        image, label = super().__getitem__(index)[:2]
        return Sample(image, label, 50 * label + index)


def test_confidence_travels_with_its_label_and_change_nothing_else() -> None:
    plain, confident = crops(augment=MIXED), crops(augment=MIXED)
    confident.pairs = Confident()
    for number in range(12):
        (image, label, none), (same_image, same_label, confidence) = plain[number][:3], confident[number][:3]
        assert none is None
        np.testing.assert_array_equal(image, same_image)
        np.testing.assert_array_equal(label, same_label)
        shown = label != 255
        np.testing.assert_array_equal(confidence[shown] // 50, label[shown])
    batch = next(batches(confident, start=0, stop=3, batch=3, workers=1))
    assert [tuple(maps.shape) for maps in batch if maps is not None] == [(3, 12, 16, 3), (3, 12, 16), (3, 12, 16)]
    np.testing.assert_array_equal(batch.confidence[1], confident[1].confidence)
    np.testing.assert_array_equal(count_classes(Confident(), 3), count_classes(Arrays(), 3))


def test_shapes_and_types() -> None:
    images, labels = drawn(0, 2)
    assert (images.shape, labels.shape) == ((2, 12, 16, 3), (2, 12, 16))
    assert images.dtype == labels.dtype == torch.uint8


def test_loading_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    drawn(0, 4)
    assert torch.rand(1) == expected


def test_the_cache_keeps_what_fits() -> None:
    arrays = Arrays()
    size = 20 * 30 * 4
    cached = CachedDataset(arrays, limit=3 * size)
    for _ in range(5):
        for index in range(4):
            np.testing.assert_array_equal(cached[index][0], arrays.pairs[index][0])
    assert arrays.asked == [1, 1, 1, 5]
    assert len(cached) == 4


def test_classes_are_counted_as_a_manifest_does() -> None:
    pairs = Arrays()
    pairs.pairs[1][1][:] = 255
    pairs.pairs[2][1][:] = 1
    counts = count_classes(pairs, 4)
    assert counts[1:3].tolist() == [[0, 0, 0, 0], [0, 600, 0, 0]]
    assert counts[0].tolist() == [(pairs.pairs[0][1] == class_id).sum() for class_id in range(4)]


def test_pairs_of_a_manifest(tmp_path: Path) -> None:
    image, label = encoded(noise_image()), encoded(ids(0, 3, 11))
    put(tmp_path / "x.png", image)
    put(tmp_path / "y.png", label)
    height, width = noise_image().shape[:2]
    digests = [hashlib.sha256(data).hexdigest() for data in (image, label)]
    rows = [
        (
            ImageRow("x", "train", "", "source", "x.png", digests[0], len(image), width, height),
            LabelRow("x", "fine", "ids", "source", "y.png", digests[1], len(label), (height * width,), ""),
        )
    ]
    pairs = ManifestDataset(rows, {"source": tmp_path}, CLASS_SETS["camvid"])
    assert len(pairs) == 1
    np.testing.assert_array_equal(pairs[0][0], noise_image())
    np.testing.assert_array_equal(pairs[0][1], ids(0, 3, 255))
