"""Label maps by several encoders, and how far all are from the entropy of a context model: bytes and CPU seconds.

    python benchmarks/encoders.py [--json] [--images 2] [--only NAMES]

The maps are drawn street scenes of 1024 x 2048, network-made labels of the same size (`_codec.py`), and CamVid's
annotations where they lie beside the checkout. All encoders store the ids without loss. What is not installed says so:
oxipng (pyoxipng), zopfli (zopflipy), OpenCV (opencv-python-headless).

`context` is no file: it is the ideal length of an adaptive arithmetic coder that sees 4 or 6 neighbours of a pixel,
the shorter of both. Its counts start empty at each map, so nothing is known beforehand.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

import numpy as np
import torch
from _codec import CAMVID, CAMVID_STEP, network_map, pillow_default
from numpy.typing import NDArray
from PIL import Image

from autolabel.labels.png import CODECS
from streetscenes import render

Map = NDArray[np.uint8]
SIZE = (1024, 2048)
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))  # up by, left by: the nearest first
PRIOR = 0.02  # count that each symbol has before it is seen


def webp(labels: Map) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(labels).convert("RGB").save(buffer, format="WEBP", lossless=True, quality=100, method=6)
    return buffer.getvalue()


def pillow_optimized(labels: Map) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def opencv(labels: Map) -> bytes:
    cv2 = import_module("cv2")
    return bytes(cv2.imencode(".png", labels, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])


def oxipng(labels: Map) -> bytes:
    """As a user calls it, with reductions of palette and depth, which change the values that readers get."""
    return bytes(import_module("oxipng").optimize_from_memory(pillow_default(labels), level=4))


def zopfli(labels: Map) -> bytes:
    """Its own filters and lengths; the reductions of colour stay off, so that every reader gets the ids."""
    packed = import_module("zopfli").ZopfliPNG(keep_color_type=True).optimize(CODECS["default"](labels))
    assert np.array_equal(np.array(Image.open(io.BytesIO(packed))), labels)
    return bytes(packed)


ENCODERS: dict[str, Callable[[Map], bytes]] = {
    "default": CODECS["default"],
    "archive": CODECS["archive"],
    "Pillow": pillow_default,
    "Pillow, optimize": pillow_optimized,
    "OpenCV, level 9": opencv,
    "oxipng, level 4": oxipng,
    "zopfli": zopfli,
    "WebP, lossless": webp,
}


def context_bytes(labels: Map) -> float:
    """The ideal length of an adaptive coder, in bytes."""
    return min(_adaptive_bits(labels, NEIGHBOURS[:number]) for number in (4, 6)) / 8


def _adaptive_bits(labels: Map, neighbours: Sequence[tuple[int, int]]) -> float:
    """Dirichlet's estimator: its total length depends on the final counts only, whatever the order of the pixels."""
    height, width = labels.shape
    padded = np.pad(labels, ((2, 0), (2, 2)), constant_values=255)
    context = np.zeros((height, width), np.uint64)
    for up, left in neighbours:
        context = context * 256 + padded[2 - up : 2 - up + height, 2 - left : 2 - left + width]
    _, context_of = np.unique(context, return_inverse=True)
    symbols, symbol_of = np.unique(labels, return_inverse=True)
    pairs = np.unique(context_of.ravel() * len(symbols) + symbol_of.ravel(), return_counts=True)[1]
    contexts = np.bincount(context_of.ravel())
    seen = sum(math.lgamma(count + PRIOR) - math.lgamma(PRIOR) for count in pairs.tolist())
    start = len(symbols) * PRIOR
    total = sum(math.lgamma(count + start) - math.lgamma(start) for count in contexts.tolist())
    return (total - seen) / math.log(2)


def measure(maps: Sequence[Map], encode: Callable[[Map], bytes]) -> tuple[float, float]:
    """Bytes and CPU seconds per map."""
    start = time.process_time()
    total = sum(len(encode(labels)) for labels in maps)
    return total / len(maps), (time.process_time() - start) / len(maps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--images", type=int, default=2, help="maps of each kind")
    parser.add_argument("--only", default="scenes,network,camvid", help="kinds, with commas between")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kinds: dict[str, Callable[[], list[Map]]] = {
        "scenes": lambda: [render(0, index, size=SIZE).fine for index in range(options.images)],
        "network": lambda: [network_map(index, SIZE) for index in range(options.images)],
        "camvid": lambda: [np.array(Image.open(file)) for file in sorted(CAMVID.glob("*.png"))[::CAMVID_STEP]],
    }
    rows: dict[str, float] = {}
    for kind in options.only.split(","):
        maps = kinds[kind]()
        say = partial(_say, options.json, rows, kind)
        for name, encode in ENCODERS.items() if maps else ():
            try:
                say(name, *measure(maps, encode))
            except ImportError:
                say(name, None, None)
        if maps:
            say("context", sum(map(context_bytes, maps)) / len(maps), None)
    if options.json:
        print(json.dumps(rows))


def _say(quiet: bool, rows: dict[str, float], kind: str, name: str, size: float | None, seconds: float | None) -> None:
    if size is not None:
        rows[f"{kind}.{name}.bytes"] = size
    if seconds is not None:
        rows[f"{kind}.{name}.seconds"] = seconds
    if not quiet:
        shown = "not installed" if size is None else f"{size:10,.0f} bytes"
        print(f"{kind:8} {name:18} {shown}" + ("" if seconds is None else f" {seconds:8.3f} s"), flush=True)


if __name__ == "__main__":
    main()
