"""Streaming inference: decode in threads, one network in the middle, codes out, chunk by chunk.

A chunk is the unit of everything: shard, journal row, and what a rank is handed. Batches hold images of one size and
never cross a chunk's border, so what a chunk gives does not depend on where a run began or how many threads decode.
On the CPU images run one by one and side by side, each on one core: no core waits for another inside an image, and
the codes depend on neither batch nor number of cores (both change the last bits of logits).
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

from autolabel.errors import ImageError
from autolabel.inference.model import InferenceModel, SplitOnOutOfMemory
from autolabel.inference.sliding_window import encode_by_windows
from autolabel.parallel import OrderedMap


class Row(Protocol):
    """What the engine reads of a manifest's image row."""

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
    """After every batch. On a GPU, `ready` near 0: decoding is the bottleneck; near `ahead`: the network is."""

    images: int  # in this batch, bad ones too
    ready: int  # decoded batches that wait
    ahead: int  # the most that may wait
    running: int  # batches in the network
    decoding: float  # seconds in which this batch was read and decoded
    network: float  # seconds that the network took, on a GPU: that it was waited for


class _Batch(NamedTuple):
    chunk: int
    rows: tuple[Row, ...]  # of one size
    order: tuple[str, ...] | None  # the whole chunk's ids, with its last batch


class _Loaded(NamedTuple):
    batch: _Batch
    ids: list[str]
    pictures: Tensor | None  # (B, H, W, 3) uint8 on the CPU; None where every image was bad
    bad: list[tuple[str, ImageError]]
    seconds: float


class _Running(NamedTuple):
    loaded: _Loaded
    codes: Tensor | None  # (B, H, W) on the CPU, to be read once they have arrived
    arrived: torch.cuda.Event | None
    seconds: float  # that starting it took


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
    """Codes of every chunk, in the order given; `chunks` of (index, image rows) is read only as far as needed.

    `load(row)` gives the (H, W, 3) uint8 picture, in one of `decoders` threads, which on the CPU also run the
    network. Where it raises ImageError the image is
    reported as bad and the rest goes on; any other exception ends the run at once. Pictures larger than a `window`
    (height, width) go through the network by windows with an `overlap` (`inference.windows`). Memory: about
    2 * decoders + 3 decoded batches. `on_retry(limit)` hears when the GPU's memory forces smaller batches.
    Closing the generator stops the threads.
    """
    on_gpu = teacher.device.type != "cpu"
    ahead = decoders + 2

    def beside_gpu(batch: _Batch) -> _Loaded | _Running:
        loaded = _load(batch, load)
        return loaded if loaded.pictures is None else loaded._replace(pictures=teacher.upload.pinned(loaded.pictures))

    def on_one_core(batch: _Batch) -> _Loaded | _Running:
        torch.set_num_threads(1)  # of this worker's operations
        return _start(by_windows(teacher), _load(batch, load))

    def by_windows(decide: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return decide if window is None else partial(encode_by_windows, decide, size=window, overlap=overlap)

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
        yield from _collect(batch, done, bad)

    with batches:
        for item in batches:
            running.append(item if isinstance(item, _Running) else _start(predict, item))
            if len(running) > on_gpu:  # a GPU computes the next batch while this one is taken off it
                yield from finish()
    while running:
        yield from finish()


def _plan(chunks: Iterable[tuple[int, Sequence[Row]]], size: int) -> Iterator[_Batch]:
    """Batches of up to `size` images: a pure function of a chunk's rows."""
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
    begun = time.perf_counter()
    ids: list[str] = []
    pictures: list[np.ndarray] = []
    bad: list[tuple[str, ImageError]] = []
    for row in batch.rows:
        try:
            pictures.append(_checked(load(row), row))
            ids.append(row.id)
        except ImageError as error:
            bad.append((row.id, error))
    stacked = torch.from_numpy(np.stack(pictures)) if pictures else None
    return _Loaded(batch, ids, stacked, bad, time.perf_counter() - begun)


def _checked(picture: np.ndarray, row: Row) -> np.ndarray:
    assert picture.dtype == np.uint8, picture.dtype
    assert picture.shape[2:] == (3,), picture.shape
    if picture.shape[:2] != (row.height, row.width):
        height, width = picture.shape[:2]
        raise ImageError(row.id, f"is {width} x {height}, its manifest row says {row.width} x {row.height}")
    return picture


def _start(predict: Callable[[Tensor], Tensor], loaded: _Loaded) -> _Running:
    begun = time.perf_counter()
    if loaded.pictures is None:
        return _Running(loaded, None, None, 0.0)
    codes = predict(loaded.pictures)
    host = codes.to("cpu", non_blocking=True)
    # Waiting for this event, not for the device: by then the next batch is under way.
    arrived = torch.cuda.current_stream(codes.device).record_event() if codes.is_cuda else None
    return _Running(loaded, host, arrived, time.perf_counter() - begun)


def _wait(running: _Running) -> float:
    """Seconds until a batch's codes have arrived."""
    begun = time.perf_counter()
    if running.arrived is not None:
        running.arrived.synchronize()
    return time.perf_counter() - begun


def _collect(running: _Running, done: dict[str, np.ndarray], bad: list[tuple[str, ImageError]]) -> Iterator[ChunkCodes]:
    """Take a batch's codes; with a chunk's last batch the chunk goes out."""
    batch, ids, failed = running.loaded.batch, running.loaded.ids, running.loaded.bad
    bad += failed
    if running.codes is not None:
        done.update(zip(ids, running.codes.numpy(), strict=True))
    if batch.order is not None:
        yield ChunkCodes(batch.chunk, [(i, done[i]) for i in batch.order if i in done], sorted(bad, key=_id_of))
        done.clear()
        bad.clear()


def _id_of(entry: tuple[str, ImageError]) -> str:
    return entry[0]
