"""The files that make a folder of label PNGs a label set: a table of the labels, and a legend that states their ids.

    classes.json, legend.png     names, ids, colours and the written values; the same as an image
    labels/classes.json          the same again: `labels/` alone says how to read its PNGs
    labels/labels.csv            one row per image
    labels/<path of the image>.png

`classes.json` is the class set with three more keys: `label_ids` ("train" or "dataset"), `values` (the value of each
class in the PNGs) and `ignore` (the value of pixels without a class).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from autolabel.classes import IGNORE, ClassSet
from autolabel.errors import DataError, ManifestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LabelIds = Literal["train", "dataset"]
FOLDER, CLASSES, TABLE, LEGEND = "labels", "classes.json", "labels.csv", "legend.png"
_STATEMENT = ("label_ids", "values", "ignore")
_COLUMNS = ("image", "label", "kept", "mean_confidence")
_CLASS = "class:"  # header of a class's column, before its name


class Statement(NamedTuple):
    """The ids that a label set is written in."""

    classes: ClassSet
    label_ids: LabelIds

    def values(self) -> NDArray[np.uint8]:
        """(256,) table from a train id to the value that stands for it in the PNGs; IGNORE to the value of ignore."""
        import numpy as np

        return self.classes.to_id() if self.label_ids == "dataset" else np.arange(256, dtype=np.uint8)

    def ignored(self) -> tuple[int, ...]:
        """The values that mean "no class"."""
        ignore, others = int(self.values()[IGNORE]), self.classes.ignored_ids
        return (ignore, *(x for x in others if x != ignore)) if self.label_ids == "dataset" else (ignore,)

    def to_json(self) -> bytes:
        values = self.values()
        written = {
            "label_ids": self.label_ids,
            "values": values[: self.classes.num_classes].tolist(),
            "ignore": int(values[IGNORE]),
        }
        return json.dumps({**self.classes.to_dict(), **written}, indent=1).encode()


class LabelSummary(NamedTuple):
    """One row of the table."""

    image: str  # the image's id
    label: str  # path of its PNG below `labels/`
    counts: Sequence[int]  # pixels per class, then ignored ones
    mean_confidence: float | None  # of the pixels that carry a class; None where none does


def describe(statement: Statement, rows: Iterable[LabelSummary]) -> dict[str, bytes]:
    """File name -> bytes of all files of a label set but the PNGs."""
    from autolabel.labels.legend import legend
    from autolabel.labels.visualize import image_png

    classes, values = statement.classes, statement.values()
    entries = [
        *zip(values[: classes.num_classes].tolist(), classes.names, classes.palette, strict=True),
        (int(values[IGNORE]), "ignore", (0, 0, 0)),
    ]
    return {
        CLASSES: statement.to_json(),
        LEGEND: image_png(legend(entries)),
        f"{FOLDER}/{CLASSES}": statement.to_json(),
        f"{FOLDER}/{TABLE}": write_table(classes.names, rows),
    }


def write_table(names: Sequence[str], rows: Iterable[LabelSummary]) -> bytes:
    """CSV in UTF-8: image, label, the fraction of pixels kept, their mean confidence, the fraction of each class."""
    return _csv(chain([[*_COLUMNS, *(_CLASS + name for name in names)]], map(_table_row, rows)))


def _table_row(row: LabelSummary) -> list[str]:
    pixels, (*counts, ignored) = max(sum(row.counts), 1), row.counts
    fractions = [f"{count / pixels:.6f}" for count in (sum(row.counts) - ignored, *counts)]
    confidence = "" if row.mean_confidence is None else f"{row.mean_confidence:.6f}"
    return [row.image, row.label, fractions[0], confidence, *fractions[1:]]


def merge_tables(earlier: bytes, later: bytes, where: object) -> bytes:
    """The rows of two tables of the same classes; the later one replaces rows of its images and of its labels' paths.

    The label of an image may have another path by then: it depends on the other images of a command.
    """
    head, *rows = _rows(later, where)
    images, labels = {row[0] for row in rows}, {row[1] for row in rows}
    kept = [row for row in _rows(earlier, where)[1:] if row[0] not in images and row[1] not in labels]
    return _csv([head, *kept, *rows])


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.BytesIO()
    for row in rows:
        line = io.StringIO()
        csv.writer(line).writerow(row)  # with its own "\r\n": only then does it quote a name that holds one of both
        text.write((line.getvalue().removesuffix("\r\n") + "\n").encode("utf-8", "backslashreplace"))
    return text.getvalue()


def images_of_labels(table: bytes, where: object) -> dict[str, str]:
    """Path of each label below `labels/` -> id of its image. Raises DataError for anything but a table of ours."""
    found: dict[str, str] = {}
    images: set[str] = set()
    for number, (image, label, *_) in enumerate(_rows(table, where)[1:], 2):
        if label in found or image in images:
            raise DataError(where, f"row {number} names {label!r} of {image!r} again", "keep one of the rows")
        found[label] = image
        images.add(image)
    return found


def _rows(table: bytes, where: object) -> list[list[str]]:
    try:
        rows = list(csv.reader(io.StringIO(table.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(where, f"is no table of labels: {error}", "put the original back, or remove it") from error
    if not rows or tuple(rows[0][: len(_COLUMNS)]) != _COLUMNS:
        raise DataError(where, f"must begin with the columns {', '.join(_COLUMNS)}", "put the original back")
    number = next((number for number, row in enumerate(rows, 1) if len(row) != len(rows[0])), None)
    if number is not None:
        raise DataError(where, f"row {number} has {len(rows[number - 1])} cells, not {len(rows[0])}", "repair the row")
    return rows


def without_statement(table: Mapping[str, Any]) -> dict[str, Any]:
    """The class set alone, as `ClassSet.from_dict` reads it."""
    return {key: value for key, value in table.items() if key not in _STATEMENT}


def read_statement(data: bytes, where: object) -> Statement | None:
    """The statement in the bytes of a `classes.json`; None if it is another program's. Raises DataError."""
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(where, f"is not valid JSON: {error}", "put the original back, or remove it") from error
    if not isinstance(table, dict) or "label_ids" not in table:
        return None
    try:
        classes = ClassSet.from_dict(without_statement(table), where)
    except ManifestError as error:
        raise DataError(where, error.what, "put the original back") from error
    label_ids = table["label_ids"]
    if label_ids not in ("train", "dataset"):
        raise DataError(where, f'label_ids is "train" or "dataset", not {label_ids!r}', "put the original back")
    statement = Statement(classes, label_ids)
    if table != json.loads(statement.to_json()):
        what = f'contradicts itself: values and ignore are not those of label_ids = "{label_ids}"'
        raise DataError(where, what, "put the original back")
    return statement
