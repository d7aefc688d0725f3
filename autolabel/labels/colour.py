"""Label maps as pictures. Made on demand; nothing coloured is ever stored in place of ids."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from autolabel.classes import IGNORE


def colourise(labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(H, W) uint8 train ids through a (256, 3) uint8 table to a (H, W, 3) uint8 RGB picture."""
    assert colours.dtype == np.uint8, colours.dtype
    assert colours.shape == (256, 3), colours.shape
    return colours[labels]


def overlay(image: np.ndarray, labels: np.ndarray, colours: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Blend the colours of `labels` over a (H, W, 3) uint8 image with weight `alpha`; ignored pixels stay."""
    assert image.shape == (*labels.shape, 3), f"{image.shape} {labels.shape}"
    weight = round(alpha * 256)
    blend = (image.astype(np.uint16) * (256 - weight) + colourise(labels, colours).astype(np.uint16) * weight) >> 8
    return np.where((labels == IGNORE)[..., None], image, blend).astype(np.uint8)


def heat(values: np.ndarray) -> np.ndarray:
    """A (H, W) map of [0, 1], such as an attention weight, as a (H, W, 3) uint8 grey picture; 1 is white."""
    grey = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def picture_png(picture: np.ndarray) -> bytes:
    """The PNG file of a (H, W, 3) uint8 RGB picture; label maps go through `autolabel.labels.png`."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
