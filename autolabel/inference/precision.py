"""The choice between fp32 and bf16: how many labels agree, and which of the two is faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from autolabel.labels.codebook import REQUIRED_EDGE, Codebook

FASTER = 0.9  # bf16 must take at most this fraction of the time of fp32


class Agreement(NamedTuple):
    """Pixels of some images, labelled in two formats."""

    same: int
    pixels: int

    @property
    def fraction(self) -> float:
        """0 without pixels: nothing was shown."""
        return self.same / self.pixels if self.pixels else 0.0


def agreement(book: Codebook, one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Agreement:
    """Compare the codes (H, W) of the same images.

    A pixel agrees if both have the same class, and both or none have a probability above 0.5.
    """
    every, half = book.lut(0.0), book.lut(REQUIRED_EDGE)
    same = pixels = 0
    for a, b in zip(one, other, strict=True):
        same += int(((every[a] == every[b]) & (half[a] == half[b])).sum())
        pixels += a.size
    return Agreement(same, pixels)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bf16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    checks = (getattr(torch.cpu, name, None) for name in _CPU_CHECKS)
    return any(bool(check()) for check in checks if check is not None)


_CPU_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private: not every version of torch has them
