"""From every scale's low-resolution maps to a label map: fusion and decision alone, on random maps."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
import torch
from _measure import alternate, peak_bytes
from plain import labelling as plain
from torch import Tensor

from autolabel.inference.fused import decide_fused
from autolabel.labels.codes import CodeBook
from autolabel.models.fusion import FUSIONS, RawMaps
from autolabel.models.resize import scaled_size

SCALES = (2.0, 1.0, 0.5)
CLASSES = 19
THRESHOLD = 0.5
STRIDE = 4
ROUNDS = 5
Size = tuple[int, int]


def random_maps(size: Size) -> dict[float, tuple[Tensor, Tensor, Tensor]]:
    """scale -> logits, auxiliary logits (1, K, h, w) and attention (1, 1, h, w) at stride 4."""
    generator = torch.Generator().manual_seed(0)
    maps = {}
    for scale in SCALES:
        height, width = (-(-side // STRIDE) for side in scaled_size(size, scale))
        logits, aux = (3 * torch.randn(1, CLASSES, height, width, generator=generator) for _ in range(2))
        maps[scale] = logits, aux, torch.rand(1, 1, height, width, generator=generator)
    return maps


def published(size: Size) -> Callable[[], np.ndarray]:
    maps = random_maps(size)

    def run() -> np.ndarray:
        passes = {scale: plain.upsampled(*values, scaled_size(size, scale)) for scale, values in maps.items()}
        return plain.labels_of(plain.fuse(passes, size), THRESHOLD)

    return run


def ours(size: Size) -> Callable[[], np.ndarray]:
    book = CodeBook(CLASSES)
    sizes = {scale: scaled_size(size, scale) for scale in SCALES}
    view = [
        RawMaps(scale, logits, attention, sizes[scale], sizes[scale])
        for scale, (logits, _, attention) in random_maps(size).items()
    ]

    def run() -> np.ndarray:
        codes = decide_fused(FUSIONS["hierarchical"], [view], book)
        return book.lut(THRESHOLD)[codes[0].numpy()]

    return run


def warm(name: str, size: Size) -> Callable[[], np.ndarray]:
    """One of the two above, after a small one has loaded what they need."""
    torch.set_num_threads(1)
    prepare = {"published": published, "ours": ours}[name]
    prepare((64, 128))()
    return prepare(size)


def measure(size: Size) -> dict[str, float]:
    theirs, mine = published(size), ours(size)
    differ = float((theirs() != mine()).mean())
    times = alternate(theirs, mine, rounds=ROUNDS)
    peaks = {name: peak_bytes(__name__, "warm", name, size) for name in ("published", "ours")}
    return {
        "decision.time_ratio": statistics.median(a / b for a, b in times),
        "decision.memory_ratio": peaks["published"] / peaks["ours"],
        "decision.labels_differ": differ,
        "decision.seconds": statistics.median(b for _, b in times),
        "decision.peak_mib": peaks["ours"] / 2**20,
    }
