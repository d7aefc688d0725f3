"""Storage of codes: HDF5 layouts, shard sizes, and an estimate for 20,000 images of 2048 x 1024.

    python benchmarks/codes.py [--json] [--weights FILE --folder FOLDER] [--factors 1,2,4] [--images 2] [--rounds 3]

Without weights the codes are those of the network and the scenes of `_codec.py`, at 1024 x 2048. With them they are
what this network says, at scales 0.5, 1 and 2, of images of the folder, enlarged by each factor: codes change along
borders, and borders grow with the perimeter, so a pixel takes fewer bytes where there are more of them.

`codes.LAYOUT.bytes` a pixel; `.write` and `.read` in megapixels a CPU second, reading one image after another in random
order from the open file. `codes.shard_N.open_and_read`: milliseconds until one image of a closed shard of N is there,
`.bytes` a pixel in that shard. `codes.size_HxW.bytes` a pixel, `.gigabytes` of 20,000 images by that figure.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from _codec import network_codes
from _dense import CLASSES
from PIL import Image

from autolabel.inference.model import InferenceModel
from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import read_shard, write_shard
from autolabel.models import network_from_bytes

TARGET_PIXELS = 20_000 * 2048 * 1024
SCALES = (0.5, 1.0, 2.0)
SHARD_SIZES = (1, 8, 32, 128)
Maps = list[np.ndarray]


class Layout(NamedTuple):
    """Options of an HDF5 dataset: `rows` and `columns` of a block (None = all); `up` stores differences of rows."""

    options: dict[str, object]
    rows: int | None = None
    columns: int | None = None
    up: bool = False


LAYOUTS = {
    **{f"gzip{level}": Layout({"compression": "gzip", "compression_opts": level}) for level in (1, 4, 6, 9)},
    "gzip6_shuffle": Layout({"compression": "gzip", "compression_opts": 6, "shuffle": True}),
    "gzip6_rows64": Layout({"compression": "gzip", "compression_opts": 6}, rows=64),
    "gzip7": Layout({"compression": "gzip", "compression_opts": 7}),
    "gzip6_columns128": Layout({"compression": "gzip", "compression_opts": 6}, columns=128),
    "gzip6_columns256": Layout({"compression": "gzip", "compression_opts": 6}, columns=256),
    "gzip9_columns256": Layout({"compression": "gzip", "compression_opts": 9}, columns=256),
    "gzip6_up": Layout({"compression": "gzip", "compression_opts": 6}, up=True),
    "lzf": Layout({"compression": "lzf"}),
    "lzf_up": Layout({"compression": "lzf"}, up=True),
}


def measure(sets: dict[str, Maps], book: Codebook, rounds: int) -> dict[str, float]:
    """Layouts and shards on the maps of the largest size; bytes per pixel on all sizes."""
    *_, largest = sets.values()
    result = {}
    for name, layout in LAYOUTS.items():
        result |= {f"codes.{name}.{key}": value for key, value in _layout(layout, largest, rounds).items()}
    for size in SHARD_SIZES:
        result |= {f"codes.shard_{size}.{key}": value for key, value in _shard(size, largest, book, rounds).items()}
    for name, maps in sets.items():
        items = [(str(number), codes) for number, codes in enumerate(maps)]
        density = len(write_shard(items, book)) / sum(codes.size for codes in maps)
        result[f"codes.size_{name}.bytes"] = density
        result[f"codes.size_{name}.gigabytes"] = density * TARGET_PIXELS / 1e9
    return result


def _layout(layout: Layout, maps: Maps, rounds: int) -> dict[str, float]:
    pixels = sum(codes.size for codes in maps)
    data = _written(layout, maps)
    with h5py.File(io.BytesIO(data)) as file:
        order = np.random.default_rng(0).permutation(len(maps))
        for number, codes in enumerate(maps):
            assert np.array_equal(_read(file, number, layout), codes)
        reading = _seconds(lambda: [_read(file, number, layout) for number in order], rounds)
    writing = _seconds(lambda: _written(layout, maps), rounds)
    return {"bytes": len(data) / pixels, "write": pixels / writing / 1e6, "read": pixels / reading / 1e6}


def _written(layout: Layout, maps: Maps) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for number, codes in enumerate(maps):
            height, width = codes.shape
            chunks = (min(layout.rows or height, height), min(layout.columns or width, width))
            stored = np.diff(codes, axis=0, prepend=np.zeros_like(codes[:1])) if layout.up else codes
            file.create_dataset(str(number), data=stored, chunks=chunks, **layout.options)
    return buffer.getvalue()


def _read(file: h5py.File, number: int, layout: Layout) -> np.ndarray:
    stored = file[str(number)][()]
    return np.cumsum(stored, axis=0, dtype=stored.dtype) if layout.up else stored


def _shard(size: int, maps: Maps, book: Codebook, rounds: int) -> dict[str, float]:
    items = [(f"{number:06}", maps[number % len(maps)]) for number in range(size)]
    data = write_shard(items, book)
    middle = items[size // 2][0]
    seconds = _seconds(lambda: read_shard(data).codes(middle), rounds)
    return {"open_and_read": 1e3 * seconds, "bytes": len(data) / sum(codes.size for _, codes in items)}


def _seconds(work: Callable[[], object], rounds: int) -> float:
    """Median CPU time."""

    def once() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return statistics.median(once() for _ in range(rounds))


def codes_of_folder(weights: Path, folder: Path, factors: list[int], images: int) -> tuple[dict[str, Maps], Codebook]:
    """Map "HxW" to the codes of the images at that size."""
    model, card = network_from_bytes(weights.read_bytes(), weights)
    book = Codebook(model.num_classes)
    teacher = InferenceModel(model, card, book, scales=SCALES)
    files = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    chosen = files[:: max(1, len(files) // images)][:images]
    sets: dict[str, Maps] = {}
    for factor in factors:
        for file in chosen:
            image = Image.open(file).convert("RGB")
            larger = image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
            codes = teacher(torch.from_numpy(np.array(larger)[None]))[0].numpy()
            sets.setdefault("x".join(map(str, codes.shape)), []).append(codes)
    return sets, book


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--weights", type=Path, help="of an autolabel network")
    parser.add_argument("--folder", type=Path, help="folder")
    parser.add_argument("--factors", default="1,2,4")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.weights and options.folder:
        factors = [int(factor) for factor in options.factors.split(",")]
        sets, book = codes_of_folder(options.weights, options.folder, factors, options.images)
    else:
        maps = [network_codes(index, (1024, 2048)) for index in range(options.images)]
        sets, book = {"1024x2048": maps}, Codebook(CLASSES)
    result = measure(sets, book, options.rounds)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:32} {value:,.4g}")


if __name__ == "__main__":
    main()
