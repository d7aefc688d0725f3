"""The engine with real networks: the codes are those of each image alone, with any settings."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from autolabel.errors import AutolabelError, ImageError
from autolabel.inference.decision import encode
from autolabel.inference.engine import ChunkCodes, Stats, infer_chunks
from autolabel.inference.model import InferenceModel, SplitOnOutOfMemory, Upload
from autolabel.inference.multiscale import multiscale_logits
from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import write_shard
from autolabel.models import WeightsCard, build_model, normalise

TABLE = {"trunk": "hrnet_tiny", "head_channels": 16, "key_channels": 8, "attention_channels": 8}
BOOK = Codebook(5)
SCALES = (0.5, 1.0)


@dataclass(frozen=True)
class Row:
    id: str
    height: int
    width: int


SIZES = [(32, 48), (48, 32), (32, 48), (32, 40), (32, 48), (48, 32), (32, 48), (32, 48), (32, 48)]
ROWS = [Row(f"image {i}", *size) for i, size in enumerate(SIZES)]
CHUNKS = [(0, ROWS[:4]), (1, ROWS[4:8]), (2, ROWS[8:])]


def load(row: Row) -> np.ndarray:
    """A different smooth image for every id."""
    seed = int(row.id.split()[-1])
    y, x, channel = np.mgrid[: row.height, : row.width, :3]
    return (127 + 127 * np.sin((x * (seed + 1) + y * channel) / 20)).astype(np.uint8)


@pytest.fixture(scope="module")
def teacher() -> InferenceModel:
    torch.manual_seed(0)
    model = build_model(TABLE, 5)
    card = WeightsCard(table=model.table, class_names=tuple("abcde"))
    return InferenceModel(model, card, BOOK, scales=SCALES)


def run(teacher, chunks=CHUNKS, **settings) -> list[ChunkCodes]:
    return list(infer_chunks(teacher, chunks, **{"load": load, **settings}))


def shards(results: list[ChunkCodes]) -> dict[int, bytes]:
    return {result.chunk: write_shard(result.codes, BOOK) for result in results}


def pool_threads() -> int:
    return sum(thread.name.startswith("autolabel") for thread in threading.enumerate())


@pytest.fixture(scope="module")
def reference(teacher: InferenceModel) -> dict[int, bytes]:
    return shards(run(teacher, decoders=1))


@pytest.mark.slow
def test_codes_are_those_of_each_image_alone(teacher: InferenceModel) -> None:
    results = run(teacher)
    assert [result.chunk for result in results] == [0, 1, 2]
    for result, (_, rows) in zip(results, CHUNKS, strict=True):
        assert [name for name, _ in result.codes] == [row.id for row in rows]
        assert result.bad == []
        for row, (_, codes) in zip(rows, result.codes, strict=True):
            images = normalise(torch.from_numpy(load(row)[None]))
            expected = encode(multiscale_logits(teacher.predictor.model, images, SCALES), BOOK)[0].numpy()
            assert codes.dtype == np.uint8
            np.testing.assert_array_equal(codes, expected)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"decoders": 4}, {"batch": 1}, {"batch": 9, "decoders": 3}], ids=str)
def test_threads_and_batch_change_no_byte(teacher: InferenceModel, reference: dict, settings: dict) -> None:
    assert shards(run(teacher, **settings)) == reference


@pytest.mark.slow
def test_a_resumed_run_gives_the_same_bytes(teacher: InferenceModel, reference: dict) -> None:
    assert shards(run(teacher, [CHUNKS[2], CHUNKS[1]])) == {index: reference[index] for index in (1, 2)}


@pytest.mark.slow
def test_bad_images_are_set_aside_with_their_reason(teacher: InferenceModel, reference: dict) -> None:
    def some_bad(row: Row) -> np.ndarray:
        if row.id in ("image 2", "image 8"):
            raise ImageError(row.id, "cannot be decoded")
        return load(row)[1:] if row.id == "image 0" else load(row)

    results = run(teacher, load=some_bad)
    assert [[name for name, _ in result.codes] for result in results[:1]] == [["image 1", "image 3"]]
    assert shards(results)[1] == reference[1]
    assert results[2].codes == []
    assert [(name, error.what) for name, error in results[0].bad + results[2].bad] == [
        ("image 0", "is 48 x 31, its manifest row says 48 x 32"),
        ("image 2", "cannot be decoded"),
        ("image 8", "cannot be decoded"),
    ]


@pytest.mark.slow
def test_empty_chunk(teacher: InferenceModel, reference: dict) -> None:
    results = run(teacher, [(7, []), CHUNKS[1], (9, [])])
    assert [(result.chunk, len(result.codes)) for result in results] == [(7, 0), (1, 4), (9, 0)]
    assert write_shard(results[1].codes, BOOK) == reference[1]
    assert run(teacher, []) == []


@pytest.mark.slow
def test_any_other_error_ends_the_run_as_it_is(teacher: InferenceModel) -> None:
    error = PermissionError("image 5")

    def fails(row: Row) -> np.ndarray:
        if row.id == "image 5":
            raise error
        return load(row)

    with pytest.raises(PermissionError) as caught:
        run(teacher, load=fails)
    assert caught.value is error
    assert pool_threads() == 0


@pytest.mark.slow
def test_reads_no_further_than_it_must_and_stops_when_closed(teacher: InferenceModel) -> None:
    loaded: list[str] = []

    def count(row: Row) -> np.ndarray:
        loaded.append(row.id)
        return load(row)

    endless = ((i, [Row(f"image {i}", 32, 32)]) for i in itertools.count())
    results = infer_chunks(teacher, endless, load=count, decoders=2)
    for expected in range(5):
        assert next(results).chunk == expected
    assert len(loaded) <= 5 + 2 + 2 + 2  # collected, ahead, being decoded
    results.close()
    assert pool_threads() == 0


@pytest.mark.slow
def test_stats_after_every_batch(teacher: InferenceModel) -> None:
    seen: list[Stats] = []
    run(teacher, on_stats=seen.append)
    assert [stats.images for stats in seen] == [1] * len(ROWS)  # on the CPU one by one
    assert all(0 <= stats.ready <= stats.ahead + 1 for stats in seen)
    assert all(stats.running == 1 and min(stats.decoding, stats.network) > 0 for stats in seen)


def test_on_a_gpu_two_batches_are_under_way() -> None:
    seen: list[Stats] = []
    run(OnGpu(), batch=2, on_stats=seen.append)
    assert [stats.images for stats in seen] == [2, 1, 1, 2, 1, 1, 1]
    assert [stats.running for stats in seen] == [2] * 6 + [1]


class OnGpu:
    """A teacher with a CUDA device, so that batches form as on a GPU. Records the size of every batch."""

    device = torch.device("cuda")
    upload = Upload(torch.device("cpu"))

    def __init__(self, fits: int = 99) -> None:
        self.batches: list[tuple[int, ...]] = []
        self.fits = fits

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(tuple(images.shape[:3]))
        return images[..., 0] % 60

    def check_finite(self, image: torch.Tensor, codes: np.ndarray) -> None:
        pass


TWO = [(1, 32, 48), (1, 32, 48)]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (1, [*TWO, (1, 48, 32), (1, 32, 40), *TWO, (1, 32, 48), (1, 48, 32), (1, 32, 48)]),
        (2, [(2, 32, 48), (1, 48, 32), (1, 32, 40), (2, 32, 48), (1, 32, 48), (1, 48, 32), (1, 32, 48)]),
        (8, [(2, 32, 48), (1, 48, 32), (1, 32, 40), (3, 32, 48), (1, 48, 32), (1, 32, 48)]),
    ],
)
def test_batches_are_of_one_size_within_one_chunk(batch: int, expected: list) -> None:
    teacher = OnGpu()
    results = run(teacher, batch=batch)
    assert teacher.batches == expected
    for result, (_, rows) in zip(results, CHUNKS, strict=True):
        assert [name for name, _ in result.codes] == [row.id for row in rows]
        for row, (_, codes) in zip(rows, result.codes, strict=True):
            np.testing.assert_array_equal(codes, load(row)[..., 0] % 60)


def test_out_of_memory_halves_the_batch_and_changes_no_label() -> None:
    limits: list[int] = []
    rows = [Row(f"image {i}", 8, 8) for i in range(8)]
    small = run(OnGpu(fits=1), [(0, rows), (1, rows[:3])], batch=8, on_retry=limits.append)
    assert limits == [4, 2, 1]
    assert shards(small) == shards(run(OnGpu(), [(0, rows), (1, rows[:3])], batch=8))


def test_one_image_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(AutolabelError, match=r"no memory for one image of 9 x 8; take lower scales") as caught:
        SplitOnOutOfMemory(OnGpu(fits=0))(torch.zeros(4, 8, 9, 3, dtype=torch.uint8))
    assert caught.value.exit_code == 1


@pytest.mark.slow
def test_bf16_changes_few_labels() -> None:
    torch.manual_seed(1)
    model = build_model(TABLE, 5).eval()
    card = WeightsCard(table=model.table, class_names=tuple("abcde"))
    images = torch.from_numpy(np.stack([load(row) for row in ROWS if row.height == 32 and row.width == 48]))
    with torch.no_grad():  # logits that vary, unlike those of a new network
        torch.nn.init.normal_(model.head.classifier.weight)
        model.head.classifier.bias -= model.forward_scale(normalise(images)).logits.mean(dim=(0, 2, 3))
    single, half = (
        InferenceModel(model, card, BOOK, scales=SCALES, precision=precision)(images) // BOOK.bins
        for precision in ("fp32", "bf16")
    )
    assert len(single.unique()) > 1
    assert 0.95 < (single == half).double().mean() < 1
