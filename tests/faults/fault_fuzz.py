"""Mutated bytes for every parser of foreign files: each is read or refused in one line, within time and memory.

Seeds are valid files of each format. The mutations are those of the usual fuzzers (bit flips, blocks removed, repeated
and spliced, telling numbers, repeated tokens). A batch runs in a forked child with little memory beyond what it has, so
a crash of a C library, a hang or a bomb is an outcome like any other; the input is found again by its number.
"""

from __future__ import annotations

import io
import json
import random
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from autolabel.errors import AutolabelError
from tests.faults.forked import forked
from tests.faults.tally import Tally

BATCH = 50
MEMORY = 1_500_000_000  # bytes beyond what the child starts with
SECONDS = 10.0  # of CPU for one input, far above what any of them needs
_LARGEST = 200_000  # bytes of an input
_NUMBERS = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\x7f",
    b"\xff" * 8,
    b"-1",
    b"1e999",
    b"99999999999999999999",
)
_TOKENS = (b"[", b"{", b'"', b"a.", b"[[", b"\n", b'{"a":', b"'''", b"\\u", b"=", b",")


class Format(NamedTuple):
    seeds: tuple[bytes, ...]
    read: Callable[[bytes], object]


def formats() -> dict[str, Format]:
    """Every parser of files from outside, with valid inputs."""
    from autolabel.artifacts import parse_shard_index
    from autolabel.classes.files import parse_mask_classes
    from autolabel.config.load import parse_experiment
    from autolabel.data.decode import decode_image
    from autolabel.data.manifest import read_images
    from autolabel.data.masks import read_mask
    from autolabel.data.media import decode_frames
    from autolabel.formats.base import ImportOptions
    from autolabel.formats.coco import from_document
    from autolabel.formats.documents import parse_json
    from autolabel.labels import png
    from autolabel.labels.label_set import images_of_labels, read_statement
    from autolabel.labels.shards import read_shard
    from autolabel.models.checkpoint import network_from_bytes
    from autolabel.models.published.read import read_checkpoint
    from autolabel.store.journal import encode, parse
    from tests.faults.cabinet import EXPERIMENT, _manifest_files, _shard_index, _weights, shard

    model, trunk, published = _weights()
    where, limit = "x", 1_000_000
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    images = {kind: _saved(pixels, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")}
    mask = _saved(pixels[..., 0] % 3, "PNG")
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "height": 24, "width": 32}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]], "area": 40}],
    }
    classes = 'names = ["a", "b"]\nids = [3, 4]\ncolours = [[1, 2, 3], [4, 5, 6]]\nignored_ids = [9]\n'
    statement = {"names": ["a"], "ids": "train", "values": [0], "ignore": 255, "colours": [[1, 2, 3]]}

    def shard_of(data: bytes) -> None:
        read_shard(data).check()

    def frames_of(data: bytes) -> None:
        for _ in decode_frames(data, where=where, max_pixels=limit).frames:
            pass

    return {
        "experiment": Format(
            (EXPERIMENT.encode(),), lambda data: parse_experiment(data, where=where, base=Path("/nowhere"))
        ),
        "class file": Format((classes.encode(),), lambda data: parse_mask_classes(_text(data), where)),
        "shard index": Format((_shard_index(),), lambda data: parse_shard_index(data, where)),
        "manifest": Format((_manifest_files()["images.parquet"],), lambda data: read_images(data, where)),
        "weights": Format((model, trunk), lambda data: network_from_bytes(data, where)),
        "published weights": Format((published,), lambda data: read_checkpoint(data, where)),
        "codes": Format((shard(),), shard_of),
        "label PNG": Format((mask,), lambda data: png.decode(data, where=where, max_pixels=limit)),
        "image": Format(tuple(images.values()), lambda data: decode_image(data, where=where, max_pixels=limit)),
        "animation": Format((images["GIF"], images["TIFF"], images["WEBP"]), frames_of),
        "mask": Format(
            (mask, images["TIFF"]), lambda data: read_mask(data, where=where, max_pixels=limit, values="ids")
        ),
        "COCO": Format(
            (json.dumps(coco).encode(),), lambda data: from_document(parse_json(data, where), where, ImportOptions())
        ),
        "statement": Format((json.dumps(statement).encode(),), lambda data: read_statement(data, where)),
        "label table": Format((b"image,label\na,a.png\n",), lambda data: images_of_labels(data, where)),
        "journal": Format((encode([{"file": "a", "sha256": "0" * 64}, {"file": "b"}])[0],), parse),
    }


def _text(data: bytes) -> str:
    """As `user_files.read_text` does: other encodings are refused there."""
    return data.decode("utf-8", "replace")


def _saved(pixels: np.ndarray, kind: str) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind)
    return sink.getvalue()


def mutated(seeds: tuple[bytes, ...], rng: random.Random) -> bytes:
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        rng.choice(_MUTATIONS)(data, seeds, rng)
    return bytes(data[:_LARGEST])


def _flip(data: bytearray, seeds: tuple[bytes, ...], rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _number(data: bytearray, seeds: tuple[bytes, ...], rng: random.Random) -> None:
    at, value = rng.randrange(len(data) + 1), rng.choice(_NUMBERS)
    data[at : at + len(value) * rng.randrange(2)] = value


def _remove(data: bytearray, seeds: tuple[bytes, ...], rng: random.Random) -> None:
    start, stop = _range(data, rng)
    del data[start:stop]


def _repeat(data: bytearray, seeds: tuple[bytes, ...], rng: random.Random) -> None:
    start, stop = _range(data, rng)
    data[start:start] = data[start:stop] * rng.choice((1, 2, 50))


def _splice(data: bytearray, seeds: tuple[bytes, ...], rng: random.Random) -> None:
    other = bytearray(rng.choice(seeds))
    start, stop = _range(other, rng)
    at = rng.randrange(len(data) + 1)
    data[at : at + (stop - start) * rng.randrange(2)] = other[start:stop]


def _token(data: bytearray, seeds: tuple[bytes, ...], rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(_TOKENS) * rng.choice((1, 3, 5000))


def _cut(data: bytearray, seeds: tuple[bytes, ...], rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


_MUTATIONS = (_flip, _flip, _number, _number, _remove, _repeat, _splice, _token, _cut)


def _range(data: bytearray, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 4, 16, 64, 256)))


def judged(read: Callable[[bytes], object], data: bytes) -> str:
    """The fault in how an input is met; empty if there is none."""
    start = time.process_time()
    try:
        read(data)
    except AutolabelError as error:
        said = str(error)
        if not said.isprintable():
            return f"says more than a line: {said[:200]!r}"
    except MemoryError:
        return f"takes more than {MEMORY / 1e9:g} GB"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    seconds = time.process_time() - start
    return f"takes {seconds:.0f} s" if seconds > SECONDS else ""


def run(number: int, seed: int, folder: Path) -> Tally:
    """`number` inputs, a batch of each format in turn."""
    table = formats()
    bad: list[str] = []
    for batch in range(-(-number // BATCH)):
        name = list(table)[batch % len(table)]
        size = min(BATCH, number - batch * BATCH)
        end = forked(partial(_batch, table, name, f"{seed}/{batch}", size), memory=MEMORY)
        found = json.loads(end.result) if end.result else [f"batch {seed}/{batch}: {end.error.strip()[-300:]}"]
        bad += [f"{name}: {line}" for line in found]
    return Tally("fuzzed bytes", number, tuple(bad))


def _batch(table: Mapping[str, Format], name: str, seed: str, size: int) -> str:
    warnings.simplefilter("ignore")  # Pillow's remarks about tags, which the command line takes as log lines
    rng = random.Random(seed)
    found = []
    for index in range(size):
        data = mutated(table[name].seeds, rng)
        if problem := judged(table[name].read, data):
            found.append(f"input {index} of {seed}: {problem}")
    return json.dumps(found)
