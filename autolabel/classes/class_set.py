"""A class set and its tables of 256 entries. Numpy is imported by the tables: `status` reads class sets without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from autolabel.errors import ManifestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IGNORE = 255  # the train id of pixels that have no class
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassSet:
    """The K classes of a data set, in train-id order.

    `ids[k]` is the id that the data set's label files use for train id k. `ignored_ids` are the other ids that may
    stand in a label file and mean "no class"; any other id in a label file is an error. Raises ValueError.
    """

    name: str
    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    ids: tuple[int, ...]
    ignored_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        problem = next(_problems(self), None)
        if problem is not None:
            raise ValueError(problem)

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def to_train(self) -> NDArray[np.uint8]:
        """(256,) table from the data set's id to the train id; ignored and illegal ids give IGNORE."""
        import numpy as np

        table = np.full(256, IGNORE, np.uint8)
        table[list(self.ids)] = np.arange(self.num_classes)
        return table

    def legal(self) -> NDArray[np.bool_]:
        """(256,) table: whether an id may stand in a label file."""
        import numpy as np

        table = np.zeros(256, bool)
        table[[*self.ids, *self.ignored_ids]] = True
        return table

    def to_id(self) -> NDArray[np.uint8]:
        """(256,) table from train id to the data set's id.

        Values that are no class give the first ignored id, or if there is none, the largest id that no class has.
        """
        import numpy as np

        unused = max(set(range(256)) - set(self.ids))
        table = np.full(256, self.ignored_ids[0] if self.ignored_ids else unused, np.uint8)
        table[: self.num_classes] = self.ids
        return table

    def colours(self) -> NDArray[np.uint8]:
        """(256, 3) RGB by train id; black for values that are no class."""
        import numpy as np

        table = np.zeros((256, 3), np.uint8)
        table[: self.num_classes] = self.palette
        return table

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values; tuples become lists when written."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: object, where: object = "class set") -> ClassSet:
        """The inverse of `to_dict`, also after a round trip through JSON. Raises ManifestError."""
        fields = {"name", "names", "palette", "ids", "ignored_ids"}
        if not isinstance(table, Mapping) or set(table) != fields:
            raise ManifestError(where, f"a class set has the keys {', '.join(sorted(fields))}")
        try:
            return cls(
                name=table["name"],
                names=_tuple(table["names"]),
                palette=tuple(_tuple(colour) for colour in _tuple(table["palette"])),
                ids=_tuple(table["ids"]),
                ignored_ids=_tuple(table["ignored_ids"]),
            )
        except (TypeError, ValueError) as error:
            raise ManifestError(where, str(error)) from error


def _tuple(value: object) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"expected a list, not {type(value).__name__}")
    return tuple(value)


def _problems(classes: ClassSet) -> Iterator[str]:
    """Yield the problems of a class set, most basic first."""
    if not isinstance(classes.name, str) or not classes.name:
        yield "a class set needs a name"
    count = len(classes.names)
    if not 1 <= count <= IGNORE:
        yield f"names: 1 to {IGNORE} classes are possible, not {count}"
    for index, name in enumerate(classes.names):
        if not isinstance(name, str) or not name.strip():
            yield f"names[{index}] must be a non-empty string"
        elif name in classes.names[:index]:
            yield f"names[{index}] repeats {name!r}"
    for field in ("palette", "ids"):
        if len(getattr(classes, field)) != count:
            yield f"{field} has {len(getattr(classes, field))} entries for {count} names"
    for index, colour in enumerate(classes.palette):
        if len(colour) != 3 or not all(map(_is_byte, colour)):
            yield f"palette[{index}] must be three numbers from 0 to 255"
    yield from _id_problems(classes)


def _id_problems(classes: ClassSet) -> Iterator[str]:
    seen: dict[int, str] = {}
    for field in ("ids", "ignored_ids"):
        for index, value in enumerate(getattr(classes, field)):
            here = f"{field}[{index}]"
            if not _is_byte(value):
                yield f"{here} must be a number from 0 to 255, not {value!r}"
            elif value in seen:
                yield f"{here} repeats id {value} of {seen[value]}"
            seen[value] = here


def _is_byte(value: object) -> bool:
    return type(value) is int and 0 <= value <= 255
