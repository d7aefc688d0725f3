"""What a checkpoint holds -> its entries: the weights under bare names, and what lies beside them.

The bytes of a stranger's checkpoint -> what it holds. Nothing in the file is run, whatever it asks for.
"""

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

CONTAINERS = ("state_dict", "model_dict", "model")  # the weights' own entry, where there are others
PREFIXES = ("module.", "model.")  # of a data-parallel wrapper, of a model that holds its loss too

Shapes = dict[str, tuple[int, ...]]


class Entries(NamedTuple):
    weights: dict[str, object]
    beside: tuple[str, ...]  # epoch, optimizer, ...: not used, but named


def entries_of(held: object, where: object, *, size: int) -> Entries:
    """Of what a file of `size` bytes holds. Raises WeightsError."""
    if not isinstance(held, Mapping):
        raise WeightsError(where, f"holds a {type(held).__name__}, no state dict", "save model.state_dict() instead")
    inner = next((name for name in CONTAINERS if isinstance(held.get(name), Mapping)), None)
    beside = tuple(str(key) for key in held if key != inner) if inner else ()
    weights = without_prefixes(held[inner] if inner else held, PREFIXES, where)
    if not weights:
        raise WeightsError(where, "holds no weights", "save model.state_dict()")
    numbers = sum(value.numel() * value.element_size() for value in weights.values() if is_plain(value))
    if numbers > size:  # one number can be stretched over a tensor of any size, and would fill memory later
        raise WeightsError(where, f"has tensors of {numbers:,} bytes in a file of {size:,}", "get the file again")
    return Entries(weights, beside)


def shapes_of(weights: Mapping[str, object]) -> Shapes:
    """() for what is no plain tensor."""
    return {key: tuple(value.shape) if is_plain(value) else () for key, value in weights.items()}


def without_prefixes(weights: Mapping[Any, object], prefixes: tuple[str, ...], where: object) -> dict[str, object]:
    """With prefixes taken off the keys, however many there are. WeightsError where two keys become one."""
    found: dict[str, object] = {}
    twice = []
    for key, value in weights.items():
        name = str(key)
        while name.startswith(prefixes):
            name = name.partition(".")[2]
        twice += [name] if name in found else []
        found[name] = value
    if twice:
        raise WeightsError(where, f"has entries twice, with and without prefix ({len(twice)}): {listed(twice)}")
    return found


ZIP = b"PK\x03\x04"  # PyTorch since 1.6
PICKLE = b"\x80"  # PyTorch before
LONGEST = 200  # characters of an error that the file may have had a hand in


class NotRead:
    """In place of a numpy value beside the weights, such as a published checkpoint's mean IoU.

    Those files could not be opened without numpy's unpickling functions; this class has their names instead, so that
    nothing of numpy is called.
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
    """What a PyTorch checkpoint (zip or older) or a safetensors file holds, on the CPU.

    PyTorch's are read with `weights_only`, never otherwise. WeightsError: another kind of file, a damaged one, one that
    asks for anything but plain data and tensors, or one that grows when it is opened.
    """
    if is_safetensors(data):
        if card_text(data, where) is not None:
            raise WeightsError(where, "is an autolabel weights file already", "use it as it is")
        return unpack(data, where)
    if not data.startswith((ZIP, PICKLE)):
        what = "is neither a PyTorch checkpoint nor safetensors" if data else "is empty"
        raise WeightsError(where, what, "give a file that torch.save or safetensors wrote")
    if data.startswith(ZIP):
        _check_archive(data, where)
    return _load(data, where)


def _check_archive(data: bytes, where: object) -> None:
    """PyTorch stores without compression: an archive that unpacks to more than its own size is made to fill memory."""
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
            warnings.simplefilter("ignore")  # about old formats: what they hold is judged by what is read
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a hostile file makes torch's reader raise whatever it likes
        raise _refusal(str(error), where) from None


def _refusal(reason: str, where: object) -> WeightsError:
    if asked := re.search(r"GLOBAL (\S+)", reason):
        remedy = "nothing of it was run; ask for a file of tensors alone, a state dict or safetensors"
        return WeightsError(where, f"asks for {asked[1][:LONGEST]}, which no weights need", remedy)
    said = re.search(r"Unpickler error:\s*(\S.*)", reason)  # what torch writes around it is advice to its users
    detail = (said[1] if said else (reason.strip() or "unreadable").splitlines()[0])[:LONGEST]
    return WeightsError(
        where, f"is no checkpoint that can be read safely: {detail}", "get the file again, or as safetensors"
    )
