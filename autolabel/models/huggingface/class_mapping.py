"""Maps the classes of another network to those of an experiment, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from autolabel.errors import ConfigError
from autolabel.suggest import did_you_mean

NONE = -1  # a class that maps to none of the experiment's
_IGNORED = ("", "ignore")


def match_classes(
    theirs: Sequence[str], ours: Sequence[str], table: Mapping[str, str], *, where: object
) -> tuple[int, ...]:
    """For each class in `theirs` the train id in `ours` that it maps to, or NONE.

    Names match regardless of case, spaces, hyphens and underscores. `table` (their name -> ours) has priority; "" or
    "ignore" there means none. ConfigError if the table has an unknown name, or names in `ours` are ambiguous.
    """
    train_ids = _train_ids(ours, where)
    chosen = {
        _known(name, theirs, "class of the network", where): _target(value, ours, where)
        for name, value in table.items()
    }
    return tuple(chosen.get(fold(name), train_ids.get(fold(name), NONE)) for name in theirs)


def check_covered(train_ids: Sequence[int], theirs: Sequence[str], ours: Sequence[str], *, where: object) -> None:
    """ConfigError if no class of the network maps to one of the experiment's."""
    if all(train_id == NONE for train_id in train_ids):
        what = f"none of its {len(theirs)} classes ({_some(theirs)}) is one of {_some(ours)}"
        raise ConfigError(where, what, 'map them in class_map, e.g. class_map = { "person" = "pedestrian" }')


def _train_ids(ours: Sequence[str], where: object) -> dict[str, int]:
    train_ids: dict[str, int] = {}
    for train_id, name in enumerate(ours):
        other = train_ids.setdefault(fold(name), train_id)
        if other != train_id:
            raise ConfigError(where, f"classes {ours[other]!r} and {name!r} have the same name", "rename one")
    return train_ids


def _target(value: str, ours: Sequence[str], where: object) -> int:
    folded = [fold(name) for name in ours]
    if fold(value) in _IGNORED and fold(value) not in folded:
        return NONE
    return folded.index(_known(value, ours, "class of the experiment", where))


def _known(name: str, names: Sequence[str], kind: str, where: object) -> str:
    """The folded name; ConfigError if it is not one of `names`."""
    if fold(name) not in map(fold, names):
        remedy = did_you_mean(name, names, fold=fold) or f"it has {_some(names)}"
        raise ConfigError(where, f"class_map: {name!r} is no {kind}", remedy)
    return fold(name)


def fold(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
