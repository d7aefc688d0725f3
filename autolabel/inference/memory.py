"""The memory that labelling an image takes, counted beforehand, and windows that fit where it would not suffice.

A pass of the optimized network on torch's meta device computes nothing and allocates nothing; the live tensors are
counted on the way. Two images, of the size in question and half as wide, tell a constant and what each further pixel
takes. Networks of other libraries are counted on two small images. A network that cuts an image into windows itself
mostly has the constant. The count is an estimate: where it is not certain that an image is too large, the work goes on.
Where nothing can be counted, memory is unknown, and nothing is forced into windows.
"""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autolabel.errors import AutolabelError
from autolabel.inference.branch_convs import SpatialBranchConv, SpatialBranchOutline
from autolabel.inference.model import PRECISIONS, CodePredictor, LogitPredictor, ProbabilityPredictor, code_predictor
from autolabel.inference.multiscale import forward_views
from autolabel.inference.optimize import prepare
from autolabel.inference.optimize_hrnet import OptimizedOCR
from autolabel.inference.optimize_huggingface import prepare_huggingface
from autolabel.inference.outlines import outline
from autolabel.inference.winograd import WinogradConv
from autolabel.models import HuggingFaceModel, Network, SegmentationModel, build_model
from autolabel.models.skeleton import on_meta

_SIDE = 512  # pixels: images of this side, and twice as wide, are counted
_WORKSPACE = 1.25  # what convolutions allocate beside tensors
_USABLE = 0.8  # fraction of the free memory
_CHEAP = 1000  # bytes per pixel of the largest scale that hardly any network exceeds
_REMEDY = "free some memory, give lower scales, or choose a --window"
_GRID, _SMALLEST = 64, 256  # sides of windows: multiples of, and at least
_COUNTED = 512  # pixels: sides of images are counted in steps of this, because each count takes time
_TRIES = 5  # windows of other sizes that are counted for one image


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside and still alive; `peak` is their maximum."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._live: dict[int, int] = {}
        self._now = self.peak = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch's default imports its compiler, which takes 2 seconds

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = outline(func, args, kwargs or {})
        if result is None:
            result = func(*args, **(kwargs or {}))
        for tensor in (result,) if isinstance(result, torch.Tensor) else tree_leaves(result):
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


class Needed(NamedTuple):
    """The peak memory of labelling an image, without that of the weights."""

    constant: float  # bytes
    per_pixel: float

    def of(self, height: int, width: int) -> int:
        return round(self.constant + self.per_pixel * height * width)


class MemoryCounter:
    """Counts the tensors that labelling takes; the network is built on the meta device once, for all sizes."""

    def __init__(self, model: Network, scales: Sequence[float], *, flip: bool = False, precision: str = "fp32") -> None:
        self._model, self._scales, self._flip = model, scales, flip
        # Weights of other networks stay in float32, and with them many maps under autocast.
        first = PRECISIONS[precision] if isinstance(model, SegmentationModel) else torch.float32
        # The code of other libraries, as of trunks, may know no bf16 on the meta device. float32 is never less.
        self._dtypes = tuple(dict.fromkeys((first, torch.float32)))
        self._predictors: dict[torch.dtype, CodePredictor] = {}

    def count(self, size: tuple[int, int] | None = None) -> Needed | None:
        """Right for images of `size` (height, width) where one is named, and a line through half that width; None
        where it cannot be counted, as with operations that need values.

        Large images pass through networks in strips, so memory grows more slowly than pixels, and from some size on
        it may even fall: the head no longer keeps its features. Then the larger of the two peaks counts for both.
        """
        height, width = size or (_side(self._model), 2 * _side(self._model))
        half = max(1, width // 2)
        for dtype in self._dtypes:
            try:
                one, two = (self._peak(height, columns, dtype) for columns in (half, width))
            except Exception:  # the code of other libraries, on a device that it was not made for
                continue
            per_pixel = max(0, two - one) / (height * max(1, width - half))
            return Needed(max(0.0, max(one, two) - per_pixel * height * width), per_pixel)
        return None

    def _peak(self, height: int, width: int, dtype: torch.dtype) -> int:
        if dtype not in self._predictors:
            self._predictors[dtype] = _on_meta(self._model, dtype)
        return _peak(self._predictors[dtype], height, width, self._scales, self._flip, dtype)


def _side(model: Network) -> int:
    """One window of a network that cuts windows itself: the second image then has two."""
    window = model.window if isinstance(model, HuggingFaceModel) else None
    return window or _SIDE


def _on_meta(model: Network, dtype: torch.dtype) -> CodePredictor:
    device = torch.device("meta")
    if isinstance(model, SegmentationModel):
        with on_meta():
            model = build_model(model.table, model.num_classes)
    else:
        model = copy.deepcopy(model).to(device)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_pre_hook(_cast_inputs)  # what autocast does
    model = model.to(dtype).eval()
    if isinstance(model, SegmentationModel):
        prepared = prepare(model, device, dtype, as_on="cpu")
        if isinstance(prepared.head, OptimizedOCR) and isinstance(prepared.head.pixels, SpatialBranchConv):
            prepared.head.pixels = SpatialBranchOutline(prepared.head.pixels)  # type: ignore[assignment]  # counts alone
        _outline(prepared)
        return LogitPredictor(prepared)
    if isinstance(model, HuggingFaceModel):
        network = prepare_huggingface(model, device, as_on="cpu")
        _outline(network)
        return ProbabilityPredictor(network)
    return code_predictor(model, device, dtype)


def _outline(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, WinogradConv):
            module.first_strip_only = True


def _cast_inputs(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    assert isinstance(module.weight, torch.Tensor)
    dtype = module.weight.dtype
    return tuple(
        value.to(dtype) if isinstance(value, torch.Tensor) and value.dtype != dtype else value for value in inputs
    )


def _peak(
    predictor: CodePredictor, height: int, width: int, scales: Sequence[float], flip: bool, dtype: torch.dtype
) -> int:
    """Meta tensors know no autocast: in bf16 the whole network is."""
    with torch.inference_mode(), LiveBytes() as counted:
        images = torch.empty(1, 3, height, width, device="meta", dtype=dtype)
        if isinstance(predictor, LogitPredictor):
            forward_views(predictor.model, images, scales, flip=flip)
        else:
            predictor.mean(images, scales, flip=flip)  # type: ignore[attr-defined]  # the only other one
    return int(counted.peak)


class WindowChooser:
    """Chooses windows for images that do not fit into memory. `free()`: bytes that may still be taken."""

    def __init__(
        self,
        model: Network,
        scales: Sequence[float],
        *,
        flip: bool,
        free: Callable[[], int],
        precision: str = "fp32",
    ) -> None:
        self._model, self._scales, self._free = model, scales, free
        self._counter = MemoryCounter(model, scales, flip=flip, precision=precision)
        self._counts: dict[tuple[int, int] | None, Needed | None] = {}

    def _counted(self, height: int, width: int) -> Needed | None:
        """The larger of the counts for the size rounded up and down: a larger image may take less.

        Networks of others that cut windows, or are no networks of transformers, are counted on small images.
        """
        whole = isinstance(self._model, HuggingFaceModel) and self._model.window is None
        if not whole and not isinstance(self._model, SegmentationModel):
            return self._count(None)
        up, down = (-(-height // _COUNTED), -(-width // _COUNTED)), (height // _COUNTED, width // _COUNTED)
        found = [self._count((rows * _COUNTED, columns * _COUNTED)) for rows, columns in {up, down} if rows and columns]
        counted = [one for one in found if one is not None]
        return max(counted, key=lambda one: one.of(height, width)) if counted else None

    def _count(self, size: tuple[int, int] | None) -> Needed | None:
        if size not in self._counts:
            self._counts[size] = self._counter.count(size)
        return self._counts[size]

    def needed(self, height: int, width: int) -> int:
        """Bytes that labelling an image of this size takes, with what convolutions need beside; 0 if unknown."""
        counted = self._counted(height, width)
        return 0 if counted is None else round(_WORKSPACE * counted.of(height, width))

    def window(self, height: int, width: int) -> tuple[int, int] | None:
        """(height, width) of a window that fits; None where the whole image fits by the count.

        AutolabelError if no window fits.
        """
        free = self._free()
        if self._surely_fits(height * width, int(_USABLE * free)):
            return None
        counted = self._counted(height, width)
        if counted is None or counted.of(height, width) <= free:
            return None
        found = self._fitting(height, width, free)
        if found is None:
            raise AutolabelError("memory", self._too_large(height, width, free), _REMEDY)
        return found

    def _fitting(self, height: int, width: int, free: int) -> tuple[int, int] | None:
        """The window, counted again for its own size until it fits: a smaller image may go through in one strip."""
        budget = _USABLE * free / _WORKSPACE
        found: tuple[int, int] | None = (height, width)
        most = float(height * width)
        for _ in range(_TRIES):
            assert found is not None
            most = min(most, self._pixels(*found, budget))
            found = _window(height, width, int(most))
            if found is None or self.needed(*found) <= _USABLE * free:
                return found
            most = 3 / 4 * found[0] * found[1]
        smallest = _window(height, width, _SMALLEST**2)
        return smallest if smallest is not None and self.needed(*smallest) <= _USABLE * free else None

    def _pixels(self, height: int, width: int, budget: float) -> float:
        """Number of pixels that fit, judged by an image of this size."""
        counted = self._counted(height, width)
        assert counted is not None
        left = budget - counted.constant
        if left > 0 and counted.per_pixel > 0:
            return left / counted.per_pixel
        return height * width * budget / max(1, counted.of(height, width))

    def parallel(self, height: int, width: int, most: int) -> int:
        """Number of images of this size, from 1 up to `most`, that fit side by side."""
        usable = int(_USABLE * self._free())
        if self._surely_fits(most * height * width, usable):
            return most
        needed = self.needed(height, width)
        return max(1, min(most, usable // needed)) if needed else most

    def shortage(self, height: int, width: int) -> str | None:
        """A line for people where memory may not suffice for one image of this size; None where it does."""
        free = self._free()
        usable = int(_USABLE * free)
        fits = self._surely_fits(height * width, usable) or self.needed(height, width) <= usable
        return None if fits else self._too_large(height, width, free)

    def _surely_fits(self, pixels: int, usable: int) -> bool:
        return isinstance(self._model, SegmentationModel) and (_CHEAP * pixels * max(1.0, *self._scales) ** 2 <= usable)

    def _too_large(self, height: int, width: int, free: int) -> str:
        needs = f"needs about {self.needed(height, width) / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free"
        return f"an image of {width} x {height} {needs}"


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
