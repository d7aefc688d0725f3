"""Whose class is whose: another network's class names against those of an experiment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from autolabel.errors import ConfigError
from autolabel.suggest import did_you_mean

NONE = -1  # a class that is none of ours
_IGNORED = ("", "ignore")


def match_classes(
    theirs: Sequence[str], ours: Sequence[str], table: Mapping[str, str], *, where: object
) -> tuple[int, ...]:
    """For each of their classes the train id of ours that it counts for, or NONE.

    Names that differ only in case, spaces, hyphens and underscores are the same. `table` (their name -> ours) comes
    first; "" or "ignore" there means none of ours. ConfigError: the table names what is not there, or names of ours
    cannot be told apart.
    """
    places = _places(ours, where)
    chosen = {
        _known(name, theirs, "class of the network", where): _target(value, ours, where)
        for name, value in table.items()
    }
    return tuple(chosen.get(_fold(name), places.get(_fold(name), NONE)) for name in theirs)


def check_covered(train_ids: Sequence[int], theirs: Sequence[str], ours: Sequence[str], *, where: object) -> None:
    """ConfigError where no class of the network counts for one of ours."""
    if all(train_id == NONE for train_id in train_ids):
        what = f"none of its {len(theirs)} classes ({_some(theirs)}) is one of {_some(ours)}"
        raise ConfigError(where, what, 'say which is which in class_map, e.g. class_map = { "person" = "pedestrian" }')


def _places(ours: Sequence[str], where: object) -> dict[str, int]:
    places: dict[str, int] = {}
    for train_id, name in enumerate(ours):
        other = places.setdefault(_fold(name), train_id)
        if other != train_id:
            raise ConfigError(where, f"classes {ours[other]!r} and {name!r} cannot be told apart by name", "rename one")
    return places


def _target(value: str, ours: Sequence[str], where: object) -> int:
    folded = [_fold(name) for name in ours]
    if _fold(value) in _IGNORED and _fold(value) not in folded:
        return NONE
    return folded.index(_known(value, ours, "class of the experiment", where))


def _known(name: str, names: Sequence[str], kind: str, where: object) -> str:
    """The folded name if it is one of `names`."""
    if _fold(name) not in map(_fold, names):
        remedy = did_you_mean(name, names, fold=_fold) or f"it has {_some(names)}"
        raise ConfigError(where, f"class_map: {name!r} is no {kind}", remedy)
    return _fold(name)


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
