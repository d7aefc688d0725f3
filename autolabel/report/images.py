"""Arrays to pictures that live inside the page, as data URIs.

Photographs become JPEG, label maps PNG. Everything is scaled down to a given width first; nothing is scaled up.
"""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autolabel.labels.visualize import grayscale, overlay

WIDTH = 640  # pixels: about twice what a picture takes on a wide page
_HATCH = ((38, 39, 43), (62, 64, 70))  # ignored pixels: dark diagonal stripes, which no class palette uses
_PERIOD, _STRIPE = 10, 3  # of the stripes, in pixels of the picture
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
    """Where labels (H, W) are right, wrong, or ignored (hatched), and where the reference says nothing."""
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
    """Colour first and shrink after: thin things fade instead of breaking. The hatch is drawn last, at final size."""
    full = colours[values]
    full[ignored] = _HATCH[0]
    picture = shrunk(full, width)
    height, width = picture.shape[:2]
    share = shrunk((ignored * np.uint8(255))[..., None].repeat(3, axis=2), width)[..., :1] / np.float32(255)
    stripes = (np.add.outer(np.arange(height), np.arange(width)) % _PERIOD < _STRIPE).astype(np.intp)
    hatch = np.array(_HATCH, np.uint8)[stripes]
    return _png(np.where(share >= 0.5, hatch, picture))


def shrunk(picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """(H, W, C) at most `width` pixels wide, each the mean of those it stands for."""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    if picture.shape[1] <= width:
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


def _jpeg(picture: NDArray[np.uint8]) -> EmbeddedImage:
    return _embedded(picture, "JPEG", quality=86)


def _png(picture: NDArray[np.uint8]) -> EmbeddedImage:
    """As a palette picture where 256 colours are enough, which they are unless edges were mixed by shrinking."""
    colours, index = np.unique(_packed(picture), return_inverse=True)
    if len(colours) > 256:
        return _embedded(picture, "PNG", optimize=True)
    return _embedded(index.reshape(picture.shape[:2]).astype(np.uint8), "PNG", palette=_unpacked(colours))


def _packed(picture: NDArray[np.uint8]) -> NDArray[np.uint32]:  # (H, W, 3) -> (H, W)
    return picture.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)


def _unpacked(colours: NDArray[np.uint32]) -> bytes:
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8).tobytes()


def _embedded(
    picture: NDArray[np.uint8], kind: str, *, palette: bytes | None = None, **options: object
) -> EmbeddedImage:
    image = Image.fromarray(picture)
    if palette is not None:
        image.putpalette(palette)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return EmbeddedImage(f"data:image/{kind.lower()};base64,{data}", image.width, image.height)
