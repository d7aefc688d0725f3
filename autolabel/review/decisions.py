"""Decisions of a reviewer, and what they make of a label map.

A decision is small and exact: it names an image, and a pixel or a class where it needs one. Applied in their order to
the same label map, decisions always give the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from autolabel.classes import IGNORE
from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook
from autolabel.labels.components import region_at

LabelMap = NDArray[np.uint8]


class Decision(BaseModel, extra="forbid", strict=True, frozen=True):
    """`accept` and `reject` are about an image, `class` about a class of it, `region` about the region of a pixel."""

    op: Literal["accept", "reject", "class", "region"]
    image: str
    x: Annotated[int, Field(ge=0)] = 0
    y: Annotated[int, Field(ge=0)] = 0
    # For `class`: the train id that is rejected. For `region`: the new one, 255 = ignore.
    to: Annotated[int, Field(ge=0, le=255)] = 255
    author: str = ""
    time: str = ""


class Layers(NamedTuple):
    """The label map of an image as it was cut, and what the codes say of its pixels; all (H, W) train ids."""

    labels: LabelMap
    teacher: LabelMap  # its class at any probability, 255 = no prediction
    second: LabelMap  # its second class, 255 = none kept


def layers_of(book: Codebook, codes: NDArray[np.integer], labels: LabelMap) -> Layers:
    return Layers(labels, book.classes_and_bins(codes)[0], book.second_classes(codes))


class Region(NamedTuple):
    mask: NDArray[np.bool_]  # (H, W)
    label: int  # 255 = ignored
    teacher: int  # its most frequent class in the region
    second: int  # its most frequent second class there that is not `label`; 255 = none kept


def region(layers: Layers, current: LabelMap, x: int, y: int) -> Region:
    """The region of a pixel in a label map. Ignored pixels are parted by the class that the teacher saw in them."""
    ignored = current == IGNORE
    mask = region_at(np.where(ignored, layers.teacher.astype(np.uint16) + 256, current), x, y)
    label = int(current[y, x])
    return Region(mask, label, _most(layers.teacher[mask], ()), _most(layers.second[mask], (label,)))


def _most(values: NDArray[np.uint8], without: tuple[int, ...]) -> int:
    """The most frequent class, the lowest of equal ones; 255 where there is none."""
    counts = np.bincount(values, minlength=256)
    counts[[IGNORE, *without]] = 0
    return int(counts.argmax()) if counts.any() else IGNORE


def _accept(layers: Layers, current: LabelMap, decision: Decision) -> LabelMap:
    return current


def _reject(layers: Layers, current: LabelMap, decision: Decision) -> LabelMap:
    return np.full_like(current, IGNORE)


def _reject_class(layers: Layers, current: LabelMap, decision: Decision) -> LabelMap:
    return np.where(current == decision.to, np.uint8(IGNORE), current)


def _set_region(layers: Layers, current: LabelMap, decision: Decision) -> LabelMap:
    return np.where(region(layers, current, decision.x, decision.y).mask, np.uint8(decision.to), current)


_APPLY: dict[str, Callable[[Layers, LabelMap, Decision], LabelMap]] = {
    "accept": _accept,
    "reject": _reject,
    "class": _reject_class,
    "region": _set_region,
}


def apply_decision(layers: Layers, current: LabelMap, decision: Decision) -> LabelMap:
    """The label map after a decision about its image."""
    return _APPLY[decision.op](layers, current, decision)


def check_decision(decision: Decision, shape: tuple[int, int], num_classes: int) -> None:
    """Raises DataError for a pixel outside of the image, and for a class that is none."""
    if decision.op == "region" and not (decision.y < shape[0] and decision.x < shape[1]):
        raise DataError("decision", f"{decision.x},{decision.y} lies outside of {decision.image!r}")
    if decision.to >= num_classes and not (decision.op != "class" and decision.to == IGNORE):
        raise DataError("decision", f"{decision.to} is no class", f"there are {num_classes}")


def read_decision(row: Mapping[str, Any], where: object) -> Decision:
    try:
        return Decision.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(where, f"is no decision: {place}: {first['msg']}", "it is of another version") from error


def standing(rows: Iterable[Mapping[str, Any]], where: object) -> list[Decision]:
    """The decisions that stand: an undo takes back the last one that stands before it."""
    stack: list[Decision] = []
    for row in rows:
        if row.get("op") == "undo":
            if stack:
                stack.pop()
        else:
            stack.append(read_decision(row, where))
    return stack
