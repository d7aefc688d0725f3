"""Storage of codes: HDF5 layouts, shard sizes, and an estimate for 20,000 images of 2048 x 1024.

    python benchmarks/codes.py [--json] [--weights FILE --folder FOLDER] [--factors 1,2,4] [--images 2] [--rounds 3]

Without weights the codes are those of the network and the scenes of `_codec.py`, at 1024 x 2048. With them they are
what this network says, at scales 0.5, 1 and 2, of images of the folder, enlarged by each factor: codes change along
borders, and borders grow with the perimeter, so a pixel takes fewer bytes where there are more of them.

Layouts `planes` store classes and bins apart; `up` and `gradient` predict bins from neighbours. Filters other than gzip
and lzf need the package hdf5plugin. `codes.LAYOUT.bytes` a pixel; `.write` and `.read` in megapixels a CPU second,
reading one image after another in random order from the open file. `codes.shard_N.open_and_read`: milliseconds until
one image of a closed shard of N is there, `.bytes` a pixel in that shard. `codes.size_HxW.bytes` a pixel, `.gigabytes`
of 20,000 images by that figure.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from importlib import import_module
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


class Form(NamedTuple):
    """How codes become the arrays that are stored, and back; `bins` of a class."""

    split: Callable[[np.ndarray, int], list[np.ndarray]]
    join: Callable[[list[np.ndarray], int], np.ndarray]


def _diff(codes: np.ndarray, axis: int) -> np.ndarray:
    return np.diff(codes, axis=axis, prepend=np.zeros_like(codes.take([0], axis)))  # modulo 256


def _sum(differences: np.ndarray, axis: int) -> np.ndarray:
    return np.cumsum(differences, axis=axis, dtype=differences.dtype)


FORMS = {
    "codes": Form(lambda codes, bins: [codes], lambda arrays, bins: arrays[0]),
    "up": Form(lambda codes, bins: [_diff(codes, 0)], lambda arrays, bins: _sum(arrays[0], 0)),
    "planes": Form(
        lambda codes, bins: [codes // bins, codes % bins], lambda arrays, bins: arrays[0] * bins + arrays[1]
    ),
    "planes_up": Form(  # classes as they are, bins as the difference from the bin above
        lambda codes, bins: [codes // bins, _diff(codes % bins, 0)],
        lambda arrays, bins: arrays[0] * bins + _sum(arrays[1], 0),
    ),
    "planes_gradient": Form(  # from the bins above, on the left and between: above + left - between
        lambda codes, bins: [codes // bins, _diff(_diff(codes % bins, 0), 1)],
        lambda arrays, bins: arrays[0] * bins + _sum(_sum(arrays[1], 1), 0),
    ),
}


class Layout(NamedTuple):
    """Options of an HDF5 dataset: `rows` and `columns` of a block (None = all); `form` is one of FORMS.

    `plugin` names a filter of the package hdf5plugin and its arguments.
    """

    options: dict[str, object]
    rows: int | None = None
    columns: int | None = None
    form: str = "codes"
    plugin: tuple[str, dict[str, object]] | None = None

    def filters(self) -> dict[str, object]:
        """Raises ImportError where hdf5plugin is not installed."""
        if self.plugin is None:
            return self.options
        name, arguments = self.plugin
        return {**self.options, **getattr(import_module("hdf5plugin"), name)(**arguments)}


def _gzip(level: int, **more: object) -> dict[str, object]:
    return {"compression": "gzip", "compression_opts": level, **more}


LAYOUTS = {
    **{f"gzip{level}": Layout(_gzip(level)) for level in (1, 4, 6, 9)},
    "gzip6_shuffle": Layout(_gzip(6, shuffle=True)),
    "gzip6_rows64": Layout(_gzip(6), rows=64),
    "gzip7": Layout(_gzip(7)),
    "gzip6_columns128": Layout(_gzip(6), columns=128),
    "gzip6_columns256": Layout(_gzip(6), columns=256),
    "gzip9_columns256": Layout(_gzip(9), columns=256),
    **{f"gzip6_{form}": Layout(_gzip(6), form=form) for form in FORMS if form != "codes"},
    "gzip6_columns256_planes": Layout(_gzip(6), columns=256, form="planes"),
    "lzf": Layout({"compression": "lzf"}),
    "lzf_up": Layout({"compression": "lzf"}, form="up"),
    "zstd9": Layout({}, plugin=("Zstd", {"clevel": 9})),
    "zstd19": Layout({}, plugin=("Zstd", {"clevel": 19})),
    "zstd19_planes": Layout({}, form="planes", plugin=("Zstd", {"clevel": 19})),
    "blosc2_zstd9": Layout({}, plugin=("Blosc2", {"cname": "zstd", "clevel": 9, "filters": 1})),
    "bitshuffle_zstd": Layout({}, plugin=("Bitshuffle", {"cname": "zstd", "clevel": 9})),
    "bzip2": Layout({}, plugin=("BZip2", {})),
    "bzip2_planes": Layout({}, form="planes", plugin=("BZip2", {})),
}


def measure(sets: dict[str, Maps], book: Codebook, rounds: int) -> dict[str, float]:
    """Layouts and shards on the maps of the largest size; bytes per pixel on all sizes."""
    *_, largest = sets.values()
    result = {}
    for name, layout in LAYOUTS.items():
        try:
            found = _layout(layout, largest, book.bins, rounds)
        except ImportError:  # hdf5plugin
            found = {"not_installed": 1.0}
        result |= {f"codes.{name}.{key}": value for key, value in found.items()}
    for size in SHARD_SIZES:
        result |= {f"codes.shard_{size}.{key}": value for key, value in _shard(size, largest, book, rounds).items()}
    for name, maps in sets.items():
        items = [(str(number), codes) for number, codes in enumerate(maps)]
        density = len(write_shard(items, book)) / sum(codes.size for codes in maps)
        result[f"codes.size_{name}.bytes"] = density
        result[f"codes.size_{name}.gigabytes"] = density * TARGET_PIXELS / 1e9
    return result


def _layout(layout: Layout, maps: Maps, bins: int, rounds: int) -> dict[str, float]:
    pixels = sum(codes.size for codes in maps)
    data = _written(layout, maps, bins)
    with h5py.File(io.BytesIO(data)) as file:
        order = np.random.default_rng(0).permutation(len(maps))
        for number, codes in enumerate(maps):
            assert np.array_equal(_read(file, number, layout, bins), codes)
        reading = _seconds(lambda: [_read(file, number, layout, bins) for number in order], rounds)
    writing = _seconds(lambda: _written(layout, maps, bins), rounds)
    return {"bytes": len(data) / pixels, "write": pixels / writing / 1e6, "read": pixels / reading / 1e6}


def _written(layout: Layout, maps: Maps, bins: int) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for number, codes in enumerate(maps):
            height, width = codes.shape
            chunks = (min(layout.rows or height, height), min(layout.columns or width, width))
            for plane, stored in enumerate(FORMS[layout.form].split(codes, bins)):
                file.create_dataset(f"{number}/{plane}", data=stored, chunks=chunks, **layout.filters())
    return buffer.getvalue()


def _read(file: h5py.File, number: int, layout: Layout, bins: int) -> np.ndarray:
    return FORMS[layout.form].join([plane[()] for plane in file[str(number)].values()], bins)


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
