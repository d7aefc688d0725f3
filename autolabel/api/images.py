"""Images as users have them in hands: a path, a PIL image, or an array."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autolabel.data.decode import decode_image, decoding, naming_limit
from autolabel.errors import ImageError
from autolabel.user_files import read_user_file

ImageLike = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
MAX_PIXELS = 64_000_000  # of a file; an array or a PIL image may be larger
_FORMS = "give a path, a PIL image, or a uint8 array (height, width, 3) in RGB"


def read_image(image: ImageLike) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB. An array is not copied, and no input changes. Raises ImageError."""
    if isinstance(image, str | os.PathLike):
        return _file(Path(image))
    if isinstance(image, Image.Image):
        return _pil(image)
    if isinstance(image, np.ndarray):
        return _array(image)
    raise ImageError("image", f"is of type {type(image).__name__}", _remedy(image))


def _file(path: Path) -> NDArray[np.uint8]:
    data = read_user_file(path, ImageError, "give the path of an image")
    with naming_limit(""):
        return decode_image(data, where=path, max_pixels=MAX_PIXELS)


def _pil(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ImageError("image", f"pixels of mode {image.mode!r} have no agreed range", "convert it to 8-bit RGB")
    with decoding("image", "cannot be decoded", ImageError):
        pixels = np.array(image.convert("RGB"), dtype=np.uint8)
    return _array(pixels)


def _array(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8:
        raise ImageError("image", f"is an array of {pixels.dtype}, not uint8", _FORMS)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ImageError("image", f"is an array of shape {pixels.shape}", _FORMS)
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def _remedy(image: object) -> str:
    if type(image).__module__.partition(".")[0] == "torch":
        return "give image.permute(1, 2, 0).cpu().numpy() of a uint8 tensor (3, height, width)"
    if isinstance(image, list | tuple):
        return "give one image, or call map() for several"
    return _FORMS
