"""How the values in masks become train ids: ids and colours of each class, merged and dropped classes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from autolabel.classes.class_set import IGNORE, ClassSet, Colour
from autolabel.suggest import did_you_mean

MAX_ID = 65_535  # ids in masks of 16 bits


@dataclass(frozen=True)
class SourceClass:
    """A class as the masks have it: several ids and colours may mean it."""

    name: str
    ids: tuple[int, ...]
    colours: tuple[Colour, ...]


@dataclass(frozen=True)
class MaskClasses:
    """The classes that are trained, and the tables that lead from the values in masks to their train ids.

    A train id of 255 in a table means "no class". `colours` is empty if the class file states no colours.
    """

    classes: ClassSet
    ids: Mapping[int, int]
    colours: Mapping[Colour, int]

    @property
    def in_place(self) -> bool:
        """Whether a mask of 8-bit ids can be read with `classes` alone: no class has several ids."""
        table = dict(zip(self.classes.ids, range(self.classes.num_classes), strict=True))
        return dict(self.ids) == table | dict.fromkeys(self.classes.ignored_ids, IGNORE)


def pack(colour: Colour) -> int:
    """A colour as the number that `data.masks.read_mask` gives for it."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def targets_of(names: Sequence[str], merge: Mapping[str, str], drop: Iterable[str]) -> dict[str, str | None]:
    """The trained class of each source class, None if it is dropped. Raises ValueError.

    A class may be merged into another class of the file, or into a new name.
    """
    drop = tuple(drop)
    for key, listed in (("merge", tuple(merge)), ("drop", drop)):
        for name in listed:
            if name not in names:
                hint = did_you_mean(name, names)
                raise ValueError(f"{key}: no class is named {name!r}" + (f", {hint}" if hint else ""))
    twice = next((name for name in drop if name in merge), None)
    if twice is not None:
        raise ValueError(f"{twice!r} is merged and dropped")
    return {name: _target(name, merge, drop) for name in names}


def _target(name: str, merge: Mapping[str, str], drop: tuple[str, ...]) -> str | None:
    visited = [name]
    while name in merge:
        name = merge[name]
        if name in visited:
            raise ValueError(f"merge: {' -> '.join([*visited, name])} leads back to itself")
        visited.append(name)
    return None if name in drop else name


def merged(
    source: Sequence[SourceClass],
    targets: Mapping[str, str | None],
    *,
    name: str,
    palette: Sequence[Colour],
    ignored_ids: Sequence[int],
    ignored_colours: Sequence[Colour],
) -> MaskClasses:
    """Build the tables. `palette` holds the colour of each source class for overlays. Raises ValueError."""
    names = tuple(dict.fromkeys(target for item in source if (target := targets[item.name]) is not None))
    number: dict[str | None, int] = {target: index for index, target in enumerate(names)} | {None: IGNORE}
    ids = _table("id", [(x, number[targets[item.name]]) for item in source for x in item.ids], ignored_ids)
    colours = _table(
        "colour", [(x, number[targets[item.name]]) for item in source for x in item.colours], ignored_colours
    )
    # A class keeps id and colour of the source class of its name; a new name takes those of its first member.
    heads = [_head(target, source, targets) for target in names]
    shown = {item.name: colour for item, colour in zip(source, palette, strict=True)}
    own_ids = tuple(item.ids[0] for item in heads)
    ignored = tuple(dict.fromkeys(x for x in (*ignored_ids, *ids) if x < 256 and ids[x] == IGNORE))
    if max(own_ids, default=0) > 255:  # label files have 8 bits: their ids are then the train ids
        own_ids, ignored = tuple(range(len(names))), (IGNORE,)
    classes = ClassSet(name, names, tuple(shown[item.name] for item in heads), own_ids, ignored)
    return MaskClasses(classes, ids, colours if any(item.colours for item in source) else {})


def _head(target: str, source: Sequence[SourceClass], targets: Mapping[str, str | None]) -> SourceClass:
    members = [item for item in source if targets[item.name] == target]
    return next((item for item in members if item.name == target), members[0])


T = TypeVar("T", bound=Hashable)


def _table(what: str, pairs: Iterable[tuple[T, int]], ignored: Sequence[T]) -> dict[T, int]:
    table: dict[T, int] = {}
    for value, train_id in [*pairs, *((value, IGNORE) for value in ignored)]:
        if table.setdefault(value, train_id) != train_id:
            raise ValueError(f"{what} {value} stands for two classes, or for a class and for no class")
    return table
