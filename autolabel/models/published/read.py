"""Safe reading of foreign checkpoints: no code in the file is ever run."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from autolabel.errors import WeightsError
from autolabel.models.weights_file import card_text, is_plain, is_safetensors, listed, unpack

CONTAINERS = ("state_dict", "model_dict", "model")  # the entry with the weights, where there are others
PREFIXES = ("module.", "model.")  # of a data-parallel wrapper, and of a model that includes its loss

Shapes = dict[str, tuple[int, ...]]


class Entries(NamedTuple):
    """The contents of a checkpoint: the weights under bare names, and the names of its other entries."""

    weights: dict[str, object]
    beside: tuple[str, ...]  # epoch, optimizer, ...: not used


def entries_of(content: object, where: object, *, size: int) -> Entries:
    """The entries of a checkpoint file of `size` bytes. Raises WeightsError."""
    if not isinstance(content, Mapping):
        what = f"holds a {type(content).__name__}, not a state dict"
        raise WeightsError(where, what, "save model.state_dict() instead")
    inner = next((name for name in CONTAINERS if isinstance(content.get(name), Mapping)), None)
    beside = tuple(str(key) for key in content if key != inner) if inner else ()
    weights = without_prefixes(content[inner] if inner else content, PREFIXES, where)
    if not weights:
        raise WeightsError(where, "holds no weights", "save model.state_dict()")
    numbers = sum(value.numel() * value.element_size() for value in weights.values() if is_plain(value))
    if numbers > size:  # a stride of 0 expands one number to any size, which would fill memory later
        raise WeightsError(where, f"has tensors of {numbers:,} bytes in a file of {size:,}", "get the file again")
    return Entries(weights, beside)


def shapes_of(weights: Mapping[str, object]) -> Shapes:
    """The shape of every entry; () for one that is not a plain tensor."""
    return {key: tuple(value.shape) if is_plain(value) else () for key, value in weights.items()}


def without_prefixes(weights: Mapping[Any, object], prefixes: tuple[str, ...], where: object) -> dict[str, object]:
    """The weights without these prefixes, repeated ones included. WeightsError if two keys become one."""
    bare: dict[str, object] = {}
    twice = []
    for key, value in weights.items():
        name = str(key)
        while name.startswith(prefixes):
            name = name.partition(".")[2]
        twice += [name] if name in bare else []
        bare[name] = value
    if twice:
        raise WeightsError(where, f"has entries twice, with and without prefix ({len(twice)}): {listed(twice)}")
    return bare


ZIP = b"PK\x03\x04"  # PyTorch since 1.6
PICKLE = b"\x80"  # PyTorch before
LONGEST = 200  # most characters of an error message that the file may influence


class NotRead:
    """Stands in for a numpy value beside the weights, such as the mean IoU in published checkpoints.

    Such a file needs numpy's unpickling functions. This class takes their names, so no function of numpy is called.
    """

    def __new__(cls, *args: object) -> NotRead:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (NotRead, name)
    for name in (
        "numpy.dtype",
        "numpy.ndarray",
        *(f"numpy.{core}.multiarray.{what}" for core in ("core", "_core") for what in ("scalar", "_reconstruct")),
    )
]


def read_checkpoint(data: bytes, where: object) -> object:
    """The contents of a PyTorch checkpoint (zip or older) or a safetensors file, on the CPU.

    PyTorch files are always read with `weights_only`. WeightsError for a file of another type, a damaged one, one that
    needs anything but plain data and tensors, or one that expands when it is opened.
    """
    if is_safetensors(data):
        if card_text(data, where) is not None:
            raise WeightsError(where, "is already an autolabel weights file", "use it as it is")
        return unpack(data, where)
    if not data.startswith((ZIP, PICKLE)):
        what = "is neither a PyTorch checkpoint nor safetensors" if data else "is empty"
        raise WeightsError(where, what, "use a file that torch.save or safetensors wrote")
    if data.startswith(ZIP):
        _check_archive(data, where)
    return _load(data, where)


def _check_archive(data: bytes, where: object) -> None:
    """Refuse a zip that expands: PyTorch stores without compression, so such a file is made to fill memory."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, RuntimeError, OverflowError) as error:
        raise WeightsError(where, f"is a damaged archive: {error}"[:LONGEST], "get the file again") from None
    if size > len(data):
        raise WeightsError(where, f"unpacks to {size:,} bytes from {len(data):,}", "no checkpoint of PyTorch does")


def _load(data: bytes, where: object) -> object:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(STAND_INS):
            warnings.simplefilter("ignore")  # about old formats: the contents are checked later
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a hostile file can make torch's reader raise anything
        raise _refusal(str(error), where) from None


def _refusal(reason: str, where: object) -> WeightsError:
    if name := re.search(r"GLOBAL (\S+)", reason):
        remedy = "no code in it was run; use a file that holds only tensors, a state dict or safetensors"
        return WeightsError(where, f"refers to {name[1][:LONGEST]}, which no weights need", remedy)
    message = re.search(r"Unpickler error:\s*(\S.*)", reason)  # torch surrounds it with advice to its users
    detail = (message[1] if message else (reason.strip() or "unreadable").splitlines()[0])[:LONGEST]
    return WeightsError(
        where, f"is no checkpoint that can be read safely: {detail}", "get the file again, or as safetensors"
    )
