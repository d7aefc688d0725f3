"""What a checkpoint holds -> its entries: the weights under bare names, and what lies beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from autolabel.errors import WeightsError
from autolabel.models.checks import is_plain, listed

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
