"""Embeds arrays in the page as data URIs: photographs as JPEG, label maps as PNG.

All images are scaled down to a maximum width; none is scaled up.
"""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autolabel.labels.visualize import grayscale, overlay

WIDTH = 640  # pixels: about twice the width of an image on a wide page
_HATCH = ((24, 25, 29), (134, 139, 148))  # ignored pixels: stripes that differ from flat dark classes such as building
_PERIOD, _STRIPE = 10, 3  # of the stripes, in pixels
VERDICT_COLOURS = {"right": (196, 219, 208), "wrong": (217, 72, 47), "unjudged": (232, 234, 237)}
_IGNORE = 255


class EmbeddedImage(NamedTuple):
    uri: str
    width: int
    height: int


def photo(image: NDArray[np.uint8], *, width: int = WIDTH) -> EmbeddedImage:
    """An RGB image (H, W, 3)."""
    return _jpeg(shrunk(image, width))


def label_map(labels: NDArray[np.uint8], colours: NDArray[np.uint8], *, width: int = WIDTH) -> EmbeddedImage:
    """Train ids (H, W) in the colours of a (256, 3) table; ignored pixels are hatched."""
    return _painted(labels, colours, ignored=labels == _IGNORE, width=width)


def blend(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], colours: NDArray[np.uint8], *, width: int = WIDTH
) -> EmbeddedImage:
    """The colours of the labels over the photograph; ignored pixels show the photograph."""
    return _jpeg(shrunk(overlay(image, labels, colours, alpha=0.55), width))


def verdict(labels: NDArray[np.uint8], reference: NDArray[np.uint8], *, width: int = WIDTH) -> EmbeddedImage:
    """Shows where labels (H, W) are right, wrong or ignored (hatched), and where the reference has no label."""
    state = np.where(labels == reference, 0, 1).astype(np.uint8)
    state[reference == _IGNORE] = 2
    colours = np.zeros((256, 3), np.uint8)
    colours[:3] = list(VERDICT_COLOURS.values())
    return _painted(state, colours, ignored=(labels == _IGNORE) & (reference != _IGNORE), width=width)


def weight_map(weights: NDArray[np.floating], *, width: int = WIDTH) -> EmbeddedImage:
    """A map (H, W) of 0..1 in grey; 1 is white."""
    return _jpeg(shrunk(grayscale(weights), width))


def _painted(
    values: NDArray[np.uint8], colours: NDArray[np.uint8], *, ignored: NDArray[np.bool_], width: int
) -> EmbeddedImage:
    """Colours first and shrinks after: thin objects fade instead of breaking. Draws the hatch last, at final size."""
    full = colours[values]
    full[ignored] = _HATCH[0]
    image = shrunk(full, width)
    height, width = image.shape[:2]
    fraction = shrunk((ignored * np.uint8(255))[..., None].repeat(3, axis=2), width)[..., :1] / np.float32(255)
    stripes = (np.add.outer(np.arange(height), np.arange(width)) % _PERIOD < _STRIPE).astype(np.intp)
    hatch = np.array(_HATCH, np.uint8)[stripes]
    return _png(np.where(fraction >= 0.5, hatch, image))


def shrunk(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """(H, W, C) scaled down to at most `width` pixels, by the mean over each new pixel."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    if image.shape[1] <= width:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def _jpeg(image: NDArray[np.uint8]) -> EmbeddedImage:
    return _embedded(image, "JPEG", quality=86)


def _png(image: NDArray[np.uint8]) -> EmbeddedImage:
    """A palette PNG if 256 colours are enough, which they are unless shrinking has mixed colours at edges."""
    colours, index = np.unique(_packed(image), return_inverse=True)
    if len(colours) > 256:
        return _embedded(image, "PNG", optimize=True)
    return _embedded(index.reshape(image.shape[:2]).astype(np.uint8), "PNG", palette=_unpacked(colours))


def _packed(image: NDArray[np.uint8]) -> NDArray[np.uint32]:  # (H, W, 3) -> (H, W)
    return image.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)


def _unpacked(colours: NDArray[np.uint32]) -> bytes:
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8).tobytes()


def _embedded(
    pixels: NDArray[np.uint8], format: str, *, palette: bytes | None = None, **options: object
) -> EmbeddedImage:
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return EmbeddedImage(f"data:image/{format.lower()};base64,{data}", image.width, image.height)
