"""The memory that labelling an image takes, counted beforehand, and windows that fit where it would not suffice.

A pass of the optimized network on torch's meta device computes nothing and allocates nothing; the live tensors are
counted on the way. Memory grows in proportion to the pixels, so a small image tells it for all sizes.
"""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autolabel.errors import AutolabelError
from autolabel.inference.model import LogitPredictor, code_predictor
from autolabel.inference.multiscale import forward_views
from autolabel.models import Network, SegmentationModel, build_model
from autolabel.models.skeleton import on_meta

_SIDE = 256  # pixels of the image that is counted
_WORKSPACE = 1.25  # what convolutions allocate beside tensors; 1.04 was measured for HRNet with OCR
_USABLE = 0.8  # fraction of the free memory
_CHEAP = 1000  # bytes per pixel of the largest scale that hardly any network exceeds
_GRID, _SMALLEST = 64, 256  # sides of windows: multiples of, and at least


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside and still alive; `peak` is their maximum."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._live: dict[int, int] = {}
        self._now = self.peak = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._live:
            self._live[key] = storage.nbytes()
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self._now -= self._live.pop(key, 0)


def bytes_per_pixel(model: Network, scales: Sequence[float], *, flip: bool = False) -> float:
    """Peak memory of labelling, in bytes per pixel of the image, without that of the weights."""
    device = torch.device("meta")
    if isinstance(model, SegmentationModel):
        with on_meta():
            model = build_model(model.table, model.num_classes)
    else:
        model = copy.deepcopy(model).to(device)
    predictor = code_predictor(model.eval(), device)
    with torch.inference_mode(), LiveBytes() as counted:
        images = torch.empty(1, 3, _SIDE, _SIDE, device=device)
        if isinstance(predictor, LogitPredictor):
            forward_views(predictor.model, images, scales, flip=flip)
        else:
            predictor.mean(images, scales, flip=flip)  # type: ignore[attr-defined]  # the only other one
    return float(_WORKSPACE * counted.peak / _SIDE**2)


class WindowChooser:
    """Chooses windows for images that would not fit into memory. `free()`: bytes that may still be taken."""

    def __init__(self, model: Network, scales: Sequence[float], *, flip: bool, free: Callable[[], int]) -> None:
        self._model, self._scales, self._flip, self._free = model, scales, flip, free
        self._bytes_per_pixel: float | None = None

    def needed(self, height: int, width: int) -> int:
        """Bytes that labelling an image of this size takes."""
        if self._bytes_per_pixel is None:
            self._bytes_per_pixel = bytes_per_pixel(self._model, self._scales, flip=self._flip)
        return round(self._bytes_per_pixel * height * width)

    def window(self, height: int, width: int) -> tuple[int, int] | None:
        """(height, width) of a window that fits, None where the whole image fits. AutolabelError if none does."""
        usable = int(_USABLE * self._free())
        if self._surely_fits(height * width, usable) or (needed := self.needed(height, width)) <= usable:
            return None
        found = _window(height, width, usable * height * width // needed)
        if found is None:
            raise _too_large(height, width, needed, usable, "give lower scales")
        return found

    def parallel(self, height: int, width: int, most: int) -> int:
        """Number of images of this size, up to `most`, that fit side by side. AutolabelError if not even one does."""
        usable = int(_USABLE * self._free())
        if self._surely_fits(most * height * width, usable):
            return most
        needed = self.needed(height, width)
        if needed > usable:
            raise _too_large(height, width, needed, usable, "set infer.window, or lower scales")
        return min(most, usable // needed)

    def _surely_fits(self, pixels: int, usable: int) -> bool:
        return isinstance(self._model, SegmentationModel) and (_CHEAP * pixels * max(1.0, *self._scales) ** 2 <= usable)


def _window(height: int, width: int, pixels: int) -> tuple[int, int] | None:
    """The squarest window with sides on the grid and up to so many pixels; None if it would be too small."""
    side = math.isqrt(pixels) // _GRID * _GRID
    if height <= side:
        found = height, pixels // height // _GRID * _GRID
    elif width <= side:
        found = pixels // width // _GRID * _GRID, width
    else:
        found = side, side
    return found if min(found[0], height) >= min(_SMALLEST, height) and min(found) >= _GRID else None


def _too_large(height: int, width: int, needed: int, usable: int, remedy: str) -> AutolabelError:
    needs = f"needs about {needed / 1e9:.1f} GB of memory and {usable / 1e9:.1f} GB are free"
    return AutolabelError("memory", f"an image of {width} x {height} {needs}", f"free some memory, or {remedy}")
