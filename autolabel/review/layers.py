"""The layers of the review page as image files: the image, and maps to lay over it, with transparent pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autolabel.classes import IGNORE

_SURE, _UNSURE = (38, 122, 255), (255, 96, 24)  # ends of the scale of confidence


def photo(image: NDArray[np.uint8]) -> bytes:
    """JPEG of an (H, W, 3) image."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def class_layer(labels: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]]) -> bytes:
    """PNG of (H, W) train ids in the colours of the classes; ignored pixels are transparent."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    alpha = np.zeros(256, np.uint8)
    alpha[: len(palette)] = 255
    return _indexed(labels, colours, alpha)


def confidence_layer(bins: NDArray[np.integer], number: int, valid: NDArray[np.bool_]) -> bytes:
    """PNG of (H, W) probability bins: orange and dense where the teacher is unsure, blue and thin where it is sure."""
    steps = np.linspace(0, 1, 255)[:, None]
    colours, alpha = np.zeros((256, 3), np.uint8), np.zeros(256, np.uint8)
    colours[:255] = np.round((1 - steps) * _UNSURE + steps * _SURE)
    alpha[:255] = np.round(235 - 150 * steps[:, 0])
    level = bins.astype(np.int64) * 254 // max(number - 1, 1)
    return _indexed(np.where(valid, level, IGNORE).astype(np.uint8), colours, alpha)


def region_layer(mask: NDArray[np.bool_]) -> bytes:
    """PNG of a region: a white line inside its border, a dark one around it, the rest a faint white."""
    inner, outer = mask & ~_shrunk(mask), _shrunk(~mask) ^ ~mask
    kinds = np.zeros(mask.shape, np.uint8)
    kinds[mask], kinds[outer], kinds[inner] = 1, 2, 3
    colours = np.zeros((256, 3), np.uint8)
    colours[1:4] = ((255, 255, 255), (10, 10, 12), (255, 255, 255))
    alpha = np.zeros(256, np.uint8)
    alpha[1:4] = (56, 220, 255)
    return _indexed(kinds, colours, alpha)


def _shrunk(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without its border of one pixel; the edge of the image is no border."""
    padded = np.pad(mask, 1, constant_values=True)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & mask


def _indexed(values: NDArray[np.uint8], colours: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(values), mode="L")
    image.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=alpha.tobytes(), compress_level=1)
    return buffer.getvalue()
