"""Label maps as pictures. Made on demand; nothing coloured is ever stored in place of ids."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

from autolabel.classes import IGNORE

_ROUNDING = 1e-4  # weights that sum to 1 may leave [0, 1] by so much


def colourise(labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(H, W) uint8 train ids through a (256, 3) uint8 table to a (H, W, 3) uint8 RGB picture."""
    assert colours.dtype == np.uint8, colours.dtype
    assert colours.shape == (256, 3), colours.shape
    rgb: np.ndarray = colours[labels]
    return rgb


def overlay(image: np.ndarray, labels: np.ndarray, colours: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Blend the colours of `labels` over a (H, W, 3) uint8 image with weight `alpha`; ignored pixels stay."""
    assert image.shape == (*labels.shape, 3), f"{image.shape} {labels.shape}"
    weight = round(alpha * 256)
    blend = (image.astype(np.uint16) * (256 - weight) + colourise(labels, colours).astype(np.uint16) * weight) >> 8
    return np.where((labels == IGNORE)[..., None], image, blend).astype(np.uint8)


def grayscale(values: np.ndarray, limits: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """A (H, W) map, such as an attention weight, as a (H, W, 3) uint8 grey picture: the lower limit is black, the
    upper white. What is not finite is black."""
    low, high = limits
    share = (np.where(np.isfinite(values), values, low) - low) / (high - low)
    grey = np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def grayscale_limits(maps: Iterable[np.ndarray]) -> tuple[float, float]:
    """(0, 1), or as far as the maps go beyond: the weights of explicit fusion without a softmax may."""
    finite = [values[np.isfinite(values)] for values in maps]
    low = min((float(values.min()) for values in finite if values.size), default=0.0)
    high = max((float(values.max()) for values in finite if values.size), default=1.0)
    return (low if low < -_ROUNDING else 0.0), (high if high > 1 + _ROUNDING else 1.0)


def image_png(picture: np.ndarray) -> bytes:
    """The PNG file of a (H, W, 3) uint8 RGB picture; label maps go through `autolabel.labels.png`."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
