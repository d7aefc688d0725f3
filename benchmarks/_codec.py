"""Label files against Pillow's default PNG of the same maps: bytes per label and CPU time, as Pillow / ours.

The maps are what a network says of street scenes of 1024 x 2048: its features are random, its classifier is fitted to
each scene (`_dense.network`), labels are cut at 0.5. CamVid's annotations count besides where they lie beside the
checkout (`codec.camvid_*`).
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _dense import CLASSES, Size, network
from _measure import time_ratio
from _scopes import THRESHOLD
from PIL import Image

from autolabel.inference.model import InferenceModel
from autolabel.labels.codebook import Codebook
from autolabel.labels.png import CODECS, Codec
from autolabel.models import WeightsCard
from streetscenes import render

SCALES = (0.25, 0.5, 1.0)
CAMVID = Path(__file__).parents[2] / "shared" / "camvid" / "trainannot"
CAMVID_STEP = 25  # every N-th of its annotations


def measure(*, size: Size = (1024, 2048), images: int = 2, rounds: int = 3) -> dict[str, float]:
    """`codec.ratio` and `codec.archive_ratio` are bytes, Pillow / ours."""
    maps = [network_map(index, size) for index in range(images)]
    result = _bytes("codec", maps)
    for name, prefix in (("default", "codec"), ("archive", "codec.archive")):
        result[_key(prefix, "time_ratio")] = _time_ratio(CODECS[name], maps, rounds)
    camvid = [np.array(Image.open(path)) for path in sorted(CAMVID.glob("*.png"))[::CAMVID_STEP]]
    return result | (_bytes("codec.camvid", camvid) if camvid else {})


def network_map(index: int, size: Size) -> np.ndarray:
    """(H, W) train ids of scene `index`."""
    return Codebook(CLASSES).lut(THRESHOLD)[network_codes(index, size)]


def network_codes(index: int, size: Size) -> np.ndarray:
    """(H, W) codes by a network that was fitted to the scene at half its size."""
    model = network("hrnet_tiny", render(0, index, size=(size[0] // 2, size[1] // 2)))
    card = WeightsCard(table=model.table, class_names=tuple(f"class {k}" for k in range(CLASSES)))
    teacher = InferenceModel(model, card, Codebook(CLASSES), scales=SCALES)
    return teacher(torch.from_numpy(render(0, index, size=size).image[None]))[0].numpy()


def pillow_default(labels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, format="PNG")
    return buffer.getvalue()


def _bytes(prefix: str, maps: list[np.ndarray]) -> dict[str, float]:
    theirs, ours, archived = (_total(encode, maps) for encode in (pillow_default, CODECS["default"], CODECS["archive"]))
    return {
        _key(prefix, "pillow_bytes_per_label"): theirs / len(maps),
        _key(prefix, "bytes_per_label"): ours / len(maps),
        _key(prefix, "ratio"): theirs / ours,
        _key(prefix, "archive_bytes_per_label"): archived / len(maps),
        _key(prefix, "archive_ratio"): theirs / archived,
    }


def _key(prefix: str, name: str) -> str:
    return prefix + ("_" if "." in prefix else ".") + name


def _total(encode: Codec, maps: Iterable[np.ndarray]) -> int:
    return sum(len(encode(labels)) for labels in maps)


def _time_ratio(encode: Codec, maps: list[np.ndarray], rounds: int) -> float:
    """The median over the maps."""
    return statistics.median(
        time_ratio(partial(pillow_default, labels), partial(encode, labels), device="cpu", rounds=rounds)
        for labels in maps
    )
