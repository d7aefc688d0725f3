"""The content of all masks of a source: pixels per value, and what training will see of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from autolabel.classes import IGNORE, ClassSet
from autolabel.data.masks import show_value
from autolabel.data.scan import MaskFacts


class ValueRow(TypedDict):
    value: str  # "id 7", "colour (128, 64, 128)"
    meaning: str  # the class, "no class" or "unknown"
    fraction: float  # of all pixels
    masks: int  # that hold it


@dataclass(frozen=True)
class Survey:
    """The masks of people (fine and coarse), with the tables that lead from their values to classes.

    `table`: value -> train id, 255 for "no class". `pixels` and `num_masks` are counted by value.
    """

    masks: Sequence[MaskFacts]
    classes: ClassSet
    table: Mapping[int, int]
    values: str  # "ids", "indices" or "colours"
    pixels: Mapping[int, int]
    num_masks: Mapping[int, int]

    @classmethod
    def of(cls, facts: Sequence[MaskFacts], classes: ClassSet, table: Mapping[int, int], values: str) -> Survey:
        masks = [mask for mask in facts if mask.role != "truth"]
        pixels: Counter[int] = Counter()
        num_masks: Counter[int] = Counter()
        for mask in masks:
            pixels.update(dict(zip(mask.values, mask.pixels, strict=True)))
            num_masks.update(mask.values)
        return cls(masks, classes, table, values, pixels, num_masks)

    def layers(self) -> dict[str, Survey]:
        """A survey of each label layer that has masks, fine first."""
        by_layer = {role: [mask for mask in self.masks if mask.role == role] for role in ("fine", "coarse")}
        return {
            role: Survey.of(masks, self.classes, self.table, self.values) for role, masks in by_layer.items() if masks
        }

    @property
    def unknown(self) -> list[int]:
        """The values that no class has and that do not mean "no class"."""
        return sorted(value for value in self.pixels if value not in self.table)

    @property
    def missing(self) -> list[str]:
        """Classes without a pixel."""
        seen = {self.table[value] for value in self.pixels if value in self.table}
        return [name for index, name in enumerate(self.classes.names) if index not in seen]

    def fraction(self, value: int) -> float:
        return self.pixels.get(value, 0) / max(1, sum(self.pixels.values()))

    def show(self, value: int) -> str:
        return show_value(value, self.values)

    def meaning(self, value: int) -> str:
        if value not in self.table:
            return "unknown"
        train_id = self.table[value]
        return "no class" if train_id == IGNORE else self.classes.names[train_id]

    def rows(self) -> list[ValueRow]:
        """By value; colours by their pixels."""
        order = sorted(self.pixels, key=lambda value: -self.pixels[value] if self.values == "colours" else value)
        return [
            ValueRow(
                value=self.show(value),
                meaning=self.meaning(value),
                fraction=self.fraction(value),
                masks=self.num_masks[value],
            )
            for value in order
        ]
