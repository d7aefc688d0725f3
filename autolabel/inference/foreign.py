"""Predictions of a foreign network as probabilities per pixel: stored arrays, logits, and masks of concepts.

A foreign network has classes of its own. `train_ids` maps each of its channels to a class of the experiment, or to
none; the probabilities of several channels that map to one class are added. Everything here takes arrays and bytes.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.errors import ImageError
from autolabel.inference.decision import encode_probabilities
from autolabel.labels.codebook import Codebook
from autolabel.models.huggingface.scores import Logits, as_probabilities, scores
from autolabel.models.resize import resize

Values = Literal["probabilities", "logits", "concepts"]
Layout = Literal["CHW", "HWC"]

_DTYPES = (np.float16, np.float32, np.float64)
_SUM_TOLERANCE = 0.02  # float16 probabilities of many classes do not add up exactly; they are normalised
_LARGEST = 8 * 2**30  # bytes of one array
_MAX_CONCEPTS = 10_000  # masks of one image


class ForeignTeacher(Protocol):
    """Codes of one image. Raises ImageError for an image that cannot be labelled."""

    def codes(self, image_id: str, image: NDArray[np.uint8], book: Codebook) -> NDArray[Any]:
        """(H, W) codes of a (H, W, 3) RGB image."""
        ...


@dataclass(frozen=True)
class ChannelMap:
    """The train id of each channel of a foreign network; `num_classes` stands for none of the experiment's classes."""

    train_ids: tuple[int, ...]
    num_classes: int

    @property
    def num_channels(self) -> int:
        return len(self.train_ids)


def codes_of(probabilities: Tensor, book: Codebook) -> NDArray[Any]:
    """(H, W) codes of (K + 1, H, W) probabilities."""
    codes: NDArray[Any] = encode_probabilities(probabilities[None], book)[0].numpy()
    return codes


def oriented(shape: Sequence[int], channels: int, size: tuple[int, int], layout: Layout | None, where: str) -> Layout:
    """The layout of an array of this shape. ImageError where it fits none, or where only a setting can tell.

    Without `layout` the array must have the size of the image, and fit one layout alone.
    """
    fits = {name: _sizes(shape, name) for name in ("CHW", "HWC") if len(shape) == 3 and layout in (None, name)}
    with_channels = {name: found for name, found in fits.items() if found[0] == channels}
    of_size = {name: found for name, found in with_channels.items() if found[1:] == size}
    chosen = with_channels if layout is not None else of_size
    if len(chosen) == 1:
        return "CHW" if "CHW" in chosen else "HWC"
    height, width = size
    what = f"has the shape {tuple(shape)}; the image is {width} x {height} and there are {channels} classes"
    if with_channels and layout is None:
        raise ImageError(where, what, 'say which axis holds the classes: teacher.foreign.layout = "CHW" or "HWC"')
    raise ImageError(where, what, "check teacher.foreign.classes and the array")


def check_aspect(shape: Sequence[int], layout: Layout, size: tuple[int, int], where: str) -> None:
    """ImageError for a map that no single factor makes from the image: it may be cropped, padded or turned."""
    _, height, width = _sizes(shape, layout)
    if abs(height * size[1] - width * size[0]) > max(*size, height, width):
        what = f"holds a map of {width} x {height}; the image is {size[1]} x {size[0]}"
        raise ImageError(where, what, "write maps of the image's size, or smaller by one factor")


def _sizes(shape: Sequence[int], layout: str) -> tuple[int, int, int]:
    """(channels, height, width)"""
    first, second, third = shape
    return (first, second, third) if layout == "CHW" else (third, first, second)


def probabilities_of(
    array: NDArray[Any], values: Values, channels: ChannelMap, size: tuple[int, int], layout: Layout | None, where: str
) -> Tensor:
    """(K + 1, H, W) float32, sum 1 at every pixel, of an array of probabilities or logits. Raises ImageError.

    A smaller or larger map is resized to the image. The last map is the probability of no class of the experiment.
    """
    found = oriented(array.shape, channels.num_channels, size, layout, where)
    maps = torch.from_numpy(np.ascontiguousarray(array if found == "CHW" else np.moveaxis(array, 2, 0), np.float32))
    if not maps.isfinite().all():
        raise ImageError(where, "holds numbers that are not finite", "predict this image again")
    num_maps = channels.num_classes + 1
    if values == "logits":
        return as_probabilities(scores(Logits(maps[None]), channels.train_ids, num_maps, size))[0]
    total = maps.sum(dim=0, keepdim=True)
    if maps.min() < 0 or (total - 1).abs().max() > _SUM_TOLERANCE:
        low, high = float(total.min()), float(total.max())
        what = f"its values are no probabilities: they sum to {low:.3g} ... {high:.3g} per pixel"
        raise ImageError(where, what, 'set teacher.foreign.values = "logits" if they are logits')
    mapped = maps.new_zeros((num_maps, *maps.shape[1:]))
    mapped.index_add_(0, torch.tensor(channels.train_ids), maps / total)
    return as_probabilities(resize(mapped[None], size))[0]


def concept_probabilities(
    masks: NDArray[Any], mask_scores: NDArray[Any], classes: NDArray[Any], channels: ChannelMap, size: tuple[int, int]
) -> Tensor:
    """(K + 1, H, W) probabilities of masks (N, h, w) that were found for prompts; values and scores are in [0, 1].

    `classes` (N,) is the channel of the prompt that a mask was found for. A pixel's claim by a class is the highest
    product of score and mask value. Claims of several classes share the pixel by their size. A weak claim stays weak:
    the rest of the probability goes to no class, so a pixel that nobody claims is unsure.
    """
    claims = torch.zeros((channels.num_classes + 1, *size))
    for mask, score, channel in zip(masks, mask_scores, classes, strict=True):
        claim = resize(torch.from_numpy(np.asarray(mask, np.float32))[None, None], size)[0, 0] * float(score)
        target = channels.train_ids[int(channel)]
        claims[target] = torch.maximum(claims[target], claim)
    return as_probabilities(claims[None])[0]


def read_arrays(data: bytes, where: str, expected: int) -> dict[str, NDArray[Any]]:
    """The arrays of a .npy file (named "") or of a .npz file. ImageError for any other file.

    Nothing is unpickled, and no array that claims more than `expected` bytes is read.
    """
    limit = min(expected, _LARGEST)
    try:
        if not data.startswith(b"PK"):
            return {"": _array(io.BytesIO(data), len(data), limit)}
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            found = {}
            for info in members[:8]:
                if info.file_size > limit + 4096:
                    raise ValueError(f"{info.filename} claims {info.file_size:,} bytes")
                with archive.open(info) as file:
                    found[info.filename.removesuffix(".npy")] = _array(io.BytesIO(file.read()), info.file_size, limit)
            return found
    except (
        ValueError,
        OSError,
        EOFError,
        KeyError,
        RuntimeError,
        zipfile.BadZipFile,
        struct.error,
        MemoryError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(where, f"is no .npy or .npz file of numbers: {reason}", "write it with numpy.savez") from None


def _array(file: io.BytesIO, size: int, limit: int) -> NDArray[Any]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the npy format")
    shape, _, dtype = read(file)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if dtype.hasobject or dtype.kind not in "fiub" or count * dtype.itemsize > min(limit, size):
        raise ValueError(f"{dtype} {shape}")
    file.seek(0)
    array: NDArray[Any] = np.load(file, allow_pickle=False)
    return array


@dataclass(frozen=True)
class ArrayFormat:
    """How the arrays of an image are read: `values` and `layout` as the settings state them."""

    values: Values
    layout: Layout | None
    channels: ChannelMap

    def probabilities(self, data: bytes, size: tuple[int, int], where: str) -> Tensor:
        """(K + 1, H, W) of the bytes of a file for an image of `size` (height, width). Raises ImageError."""
        if self.values == "concepts":
            return self._of_concepts(read_arrays(data, where, _MAX_CONCEPTS * size[0] * size[1] * 8), size, where)
        pixels = max(size[0] * size[1], 1 << 20)
        arrays = read_arrays(data, where, self.channels.num_channels * pixels * 8 * 4)
        named = arrays.get(self.values, next(iter(arrays.values())) if len(arrays) == 1 else None)
        if named is None:
            what = f"holds {len(arrays)} arrays ({', '.join(arrays)}) and none of the name {self.values!r}"
            raise ImageError(where, what, "name the array so, or write it alone")
        if named.dtype not in _DTYPES:
            raise ImageError(where, f"holds {named.dtype} numbers", "write float16 or float32")
        layout = oriented(named.shape, self.channels.num_channels, size, self.layout, where)
        check_aspect(named.shape, layout, size, where)
        return probabilities_of(named, self.values, self.channels, size, layout, where)

    def _of_concepts(self, arrays: Mapping[str, NDArray[Any]], size: tuple[int, int], where: str) -> Tensor:
        missing = [name for name in ("masks", "scores", "classes") if name not in arrays]
        if missing:
            raise ImageError(where, f"has no array {', '.join(missing)}", "write masks, scores and classes")
        masks, mask_scores, classes = (arrays[name] for name in ("masks", "scores", "classes"))
        if not masks.size and not mask_scores.size and not classes.size:  # empty lists: no prompt found anything
            return concept_probabilities(masks[:0], mask_scores[:0], classes[:0], self.channels, size)
        if masks.ndim != 3 or not len(masks) == len(mask_scores) == len(classes) or mask_scores.ndim != 1:
            what = f"masks {masks.shape}, scores {mask_scores.shape} and classes {classes.shape} do not belong together"
            raise ImageError(where, what, "write masks (N, H, W), scores (N,) and classes (N,)")
        for name, values in (("masks", masks), ("scores", mask_scores)):
            if values.size and not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
                raise ImageError(where, f"{name} are not from 0 to 1", "write probabilities, after the sigmoid")
        if classes.dtype.kind not in "iu" or (classes.size and not 0 <= classes.min() <= classes.max() < self._count):
            raise ImageError(
                where, f"classes are not numbers from 0 to {self._count - 1}", "write positions in classes"
            )
        return concept_probabilities(masks, mask_scores, classes, self.channels, size)

    @property
    def _count(self) -> int:
        return self.channels.num_channels
