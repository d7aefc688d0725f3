"""Fusion and decision alone, on random maps: from the low-resolution maps of all scales to a label map."""

from __future__ import annotations

import _published_labelling as published
import numpy as np
import torch
from _measure import Work, memory_ratio, time_ratio
from torch import Tensor

from autolabel.inference.fused_decision import encode_fused
from autolabel.labels.codebook import Codebook
from autolabel.models.fusion import FUSIONS, StridedOutput
from autolabel.models.resize import scaled_size

SCALES = (2.0, 1.0, 0.5)
CLASSES = 19
THRESHOLD = 0.5
STRIDE = 4
SIZE = (1024, 2048)
TINY = (64, 128)
Size = tuple[int, int]


def measure(device: str, rounds: int) -> dict[str, float]:
    """Three scales, 19 classes, 1024 x 2048: time and memory as published / ours, and the fraction of other labels."""
    theirs, ours = (decision_work(kind, SIZE, device) for kind in ("published", "ours"))
    return {
        "decision.time_ratio": time_ratio(theirs, ours, device=device, rounds=rounds),
        "decision.memory_ratio": memory_ratio(
            __name__, "decision_work", ("published", SIZE, device), ("ours", SIZE, device), rounds=3
        ),
        "decision.labels_differ": float(np.mean(theirs() != ours())),
    }


def decision_work(kind: str, size: Size, device: str) -> Work:
    """The work from maps in memory to (H, W) uint8 train ids on the host."""
    make = {"published": published_work, "ours": our_work}[kind]
    make(TINY, device)()  # warms up: loads libraries
    return make(size, device)


def published_work(size: Size, device: str) -> Work:
    maps = random_maps(size, device)

    def work() -> np.ndarray:
        passes = {scale: published.upsampled(*values, scaled_size(size, scale)) for scale, values in maps.items()}
        probabilities = torch.softmax(published.fuse(passes, size), dim=1)
        return published.labels_of(probabilities, THRESHOLD)

    return work


def our_work(size: Size, device: str) -> Work:
    book = Codebook(CLASSES)
    sizes = {scale: scaled_size(size, scale) for scale in SCALES}
    view = [
        StridedOutput(scale, logits, attention, sizes[scale], sizes[scale])
        for scale, (logits, _, attention) in random_maps(size, device).items()
    ]

    def work() -> np.ndarray:
        codes = encode_fused(FUSIONS["hierarchical"], [view], book)
        return book.lut(THRESHOLD)[codes[0].cpu().numpy()]

    return work


def random_maps(size: Size, device: str) -> dict[float, tuple[Tensor, Tensor, Tensor]]:
    """scale -> logits, auxiliary logits (1, K, h, w) and attention (1, 1, h, w) at stride 4."""
    generator = torch.Generator().manual_seed(0)
    maps = {}
    for scale in SCALES:
        height, width = (-(-side // STRIDE) for side in scaled_size(size, scale))
        logits, aux = (6 * torch.randn(1, CLASSES, height, width, generator=generator) for _ in range(2))
        attention = torch.rand(1, 1, height, width, generator=generator)
        maps[scale] = logits.to(device), aux.to(device), attention.to(device)
    return maps
