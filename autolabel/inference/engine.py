"""Streaming inference, chunk by chunk: threads decode images, one network computes their codes.

A chunk is one shard, one journal row, and the unit of work of a rank. Batches contain images of one size and never
cross a chunk, so the codes of a chunk depend neither on where a run started nor on the number of decoding threads.
On the CPU each image runs alone on one core, several of them in parallel: no core waits for another within an image,
and the codes depend neither on the batch nor on the number of cores (both change the last bits of logits).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from autolabel.errors import DataError, ImageError
from autolabel.inference.model import InferenceModel, SplitOnOutOfMemory
from autolabel.inference.sliding_window import encode_by_windows
from autolabel.parallel import OrderedMap


class Row(Protocol):
    """The fields of a manifest's image row that the engine reads."""

    @property
    def id(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


class ChunkCodes(NamedTuple):
    chunk: int  # its index
    codes: list[tuple[str, np.ndarray]]  # (image id, (H, W) codes), in the chunk's order
    bad: list[tuple[str, ImageError]]  # images that could not be read


class Stats(NamedTuple):
    """Figures of one batch. On a GPU, decoding is the bottleneck if `ready` is near 0, the network if near `ahead`."""

    images: int  # in this batch, with the bad ones
    ready: int  # decoded batches in the queue
    ahead: int  # the maximum of `ready`
    running: int  # batches in the network
    decoding: float  # seconds for reading and decoding this batch
    network: float  # seconds of the network; on a GPU, of waiting for it


class _Batch(NamedTuple):
    chunk: int
    rows: tuple[Row, ...]  # of one size
    order: tuple[str, ...] | None  # ids of the whole chunk, in its last batch only


class _Loaded(NamedTuple):
    batch: _Batch
    ids: list[str]
    images: Tensor | None  # (B, H, W, 3) uint8 on the CPU; None if every image was bad
    bad: list[tuple[str, ImageError]]
    seconds: float


class _Running(NamedTuple):
    loaded: _Loaded
    codes: Tensor | None  # (B, H, W) on the CPU, valid once `arrived` has happened
    arrived: torch.cuda.Event | None
    seconds: float  # for starting it


def infer_chunks(
    teacher: InferenceModel,
    chunks: Iterable[tuple[int, Sequence[Row]]],
    *,
    load: Callable[[Row], np.ndarray],
    batch: int = 4,
    decoders: int = 2,
    window: tuple[int, int] | None = None,
    overlap: int = 0,
    on_stats: Callable[[Stats], None] = lambda stats: None,
    on_retry: Callable[[int], None] = lambda limit: None,
) -> Generator[ChunkCodes, None, None]:
    """Codes of every chunk, in order. `chunks` of (index, image rows) is read only as far as needed.

    `load(row)` returns the (H, W, 3) uint8 image, in one of `decoders` threads, which on the CPU also run the network.
    If it raises ImageError, the image is reported as bad and the rest continues; any other exception ends the run.
    Images larger than `window` (height, width) are processed in windows with an `overlap`
    (`inference.sliding_window`). Memory: about 2 * decoders + 3 decoded batches. `on_retry(limit)` is called when the
    GPU's memory forces smaller batches. Closing the generator stops the threads.
    """
    on_gpu = teacher.device.type != "cpu"
    ahead = decoders + 2

    def beside_gpu(batch: _Batch) -> _Loaded | _Running:
        loaded = _load(batch, load)
        return loaded if loaded.images is None else loaded._replace(images=teacher.upload.pinned(loaded.images))

    def on_one_core(batch: _Batch) -> _Loaded | _Running:
        torch.set_num_threads(1)  # for operations of this worker
        return _start(by_windows(teacher), _load(batch, load))

    def by_windows(encode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return encode if window is None else partial(encode_by_windows, encode, size=window, overlap=overlap)

    predict = by_windows(SplitOnOutOfMemory(teacher, on_retry))
    running: deque[_Running] = deque()
    done: dict[str, np.ndarray] = {}
    bad: list[tuple[str, ImageError]] = []
    plan = _plan(chunks, batch if on_gpu else 1)
    batches = OrderedMap(beside_gpu if on_gpu else on_one_core, plan, workers=decoders, ahead=ahead)

    def finish() -> Iterator[ChunkCodes]:
        depth, batch = len(running), running.popleft()
        network = batch.seconds + _wait(batch)
        on_stats(Stats(len(batch.loaded.batch.rows), batches.ready, ahead, depth, batch.loaded.seconds, network))
        yield from _collect(batch, teacher, done, bad)

    with batches:
        for item in batches:
            running.append(item if isinstance(item, _Running) else _start(predict, item))
            if len(running) > on_gpu:  # a GPU computes the next batch while this one is collected
                yield from finish()
    while running:
        yield from finish()


def _plan(chunks: Iterable[tuple[int, Sequence[Row]]], size: int) -> Iterator[_Batch]:
    """Batches of up to `size` images: a pure function of the rows of a chunk."""
    for index, rows in chunks:
        order = tuple(row.id for row in rows)
        assert len(set(order)) == len(order), f"an id twice in chunk {index}"
        groups: dict[tuple[int, int], list[Row]] = {}
        for row in rows:
            groups.setdefault((row.height, row.width), []).append(row)
        batches = [tuple(g[i : i + size]) for g in groups.values() for i in range(0, len(g), size)] or [()]
        for number, members in enumerate(batches, start=1):
            yield _Batch(index, members, order if number == len(batches) else None)


def _load(batch: _Batch, load: Callable[[Row], np.ndarray]) -> _Loaded:
    start = time.perf_counter()
    ids: list[str] = []
    images: list[np.ndarray] = []
    bad: list[tuple[str, ImageError]] = []
    for row in batch.rows:
        try:
            images.append(_checked(load(row), row))
            ids.append(row.id)
        except ImageError as error:
            bad.append((row.id, error))
    stacked = torch.from_numpy(np.stack(images)) if images else None
    return _Loaded(batch, ids, stacked, bad, time.perf_counter() - start)


def _checked(image: np.ndarray, row: Row) -> np.ndarray:
    assert image.dtype == np.uint8, image.dtype
    assert image.shape[2:] == (3,), image.shape
    if image.shape[:2] != (row.height, row.width):
        height, width = image.shape[:2]
        raise ImageError(row.id, f"is {width} x {height}, its manifest row says {row.width} x {row.height}")
    return image


def _start(predict: Callable[[Tensor], Tensor], loaded: _Loaded) -> _Running:
    start = time.perf_counter()
    if loaded.images is None:
        return _Running(loaded, None, None, 0.0)
    try:
        codes = predict(loaded.images)
    except DataError as error:  # probabilities that are none
        raise DataError(", ".join(loaded.ids), error.what, error.remedy) from error
    host = codes.to("cpu", non_blocking=True)
    # Wait for this event, not for the device: by then the next batch is running.
    arrived = torch.cuda.current_stream(codes.device).record_event() if codes.is_cuda else None
    return _Running(loaded, host, arrived, time.perf_counter() - start)


def _wait(running: _Running) -> float:
    """Seconds until a batch's codes have arrived."""
    start = time.perf_counter()
    if running.arrived is not None:
        running.arrived.synchronize()
    return time.perf_counter() - start


def _collect(
    running: _Running, teacher: InferenceModel, done: dict[str, np.ndarray], bad: list[tuple[str, ImageError]]
) -> Iterator[ChunkCodes]:
    """Collect the codes of a batch; yields the chunk after its last batch."""
    batch, ids, failed = running.loaded.batch, running.loaded.ids, running.loaded.bad
    bad += failed
    if running.codes is not None:
        assert running.loaded.images is not None
        for image_id, image, codes in zip(ids, running.loaded.images, running.codes.numpy(), strict=True):
            try:
                teacher.check_finite(image, codes)
                done[image_id] = codes
            except ImageError as error:
                bad.append((image_id, ImageError(image_id, error.what, error.remedy)))
    if batch.order is not None:
        yield ChunkCodes(batch.chunk, [(i, done[i]) for i in batch.order if i in done], sorted(bad, key=_id_of))
        done.clear()
        bad.clear()


def _id_of(entry: tuple[str, ImageError]) -> str:
    return entry[0]
