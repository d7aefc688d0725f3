"""YOLO segmentation: a text file per image, a line per region: class and the corners of a polygon, in fractions.

The outlines run along the edges of the pixels. Filled by pixel centres they give the map again, but most readers fill
a polygon with its border, so that regions grow by up to a pixel and holes show a line to the outline on their left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autolabel.data.sources.listing import by_stem
from autolabel.errors import DataError, LabelError
from autolabel.formats.base import (
    ExportItem,
    ExportOptions,
    FileItem,
    ForeignImage,
    ForeignLabels,
    ImportOptions,
    LabelMap,
    check_names,
    image_items,
)
from autolabel.formats.canvas import Canvas, ring_area
from autolabel.formats.documents import points, short
from autolabel.formats.outlines import outlines
from autolabel.user_files import read_text

DATA = "data.yaml"
_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'"""  # a text of YAML, which may hold a comma or " #"
_COMMENT = r"\s*(?:(?<=\s)#.*)?"
# No pattern tries a long text again from each of its positions.
_ENTRY = re.compile(rf"\s*(?:(\d+)\s*:|-)\s*(?:({_QUOTED}){_COMMENT}|([^\s\"'].*))")
_PLAIN = r"[^\s\"',\[\]{}](?:[^,\[\]{}]*[^\s,\[\]{}])?"
_ITEM = re.compile(rf"\s*({_QUOTED}|{_PLAIN})\s*(?:,|(?=\]))")  # of a list in brackets
_LIST_END = re.compile(rf"\s*\]{_COMMENT}")


class YoloWriter:
    def __init__(self, options: ExportOptions) -> None:
        self._rows, self._split = options.class_rows(), options.split

    def add(self, item: ExportItem) -> Iterator[FileItem]:
        lines = []
        height, width = item.labels.shape
        present = set(np.flatnonzero(np.bincount(item.labels.ravel(), minlength=256)).tolist())
        for number, (train_id, _, _) in enumerate(self._rows):
            if train_id in present:
                for ring in outlines(item.labels == train_id):
                    corners = " ".join(f"{x / width:.9g} {y / height:.9g}" for x, y in ring)
                    lines.append(f"{number} {corners}\n")
        yield f"labels/{self._split}/{item.stem}.txt", "".join(lines).encode()
        yield from image_items(item, f"images/{self._split}")

    def finish(self) -> Iterator[FileItem]:
        names = "".join(f"  {number}: {json.dumps(name)}\n" for number, (_, name, _) in enumerate(self._rows))
        splits = f"train: images/{self._split}\nval: images/{self._split}\n"
        yield DATA, f"path: .\n{splits}names:\n{names}".encode()


_NO_LABELS = ("classes.txt", "predefined_classes.txt")  # labelImg puts its list of names beside the labels


def read(folder: Path, options: ImportOptions) -> ForeignLabels:
    """The text files below `labels`; classes from `options` or `data.yaml`. Smaller regions lie on top.

    Raises DataError.
    """
    labels = folder / "labels"
    if not labels.is_dir():
        raise DataError(folder, "has no folder 'labels'", "give the root of the YOLO data set")
    names = options.names or check_names(_names(folder / DATA), folder / DATA)
    splits = [path for path in sorted(labels.iterdir()) if path.is_dir()]
    roots = splits if splits and not list(labels.glob("*.txt")) else [labels]
    images = [
        ForeignImage(stem, None, str(root / path), partial(_draw, file=root / path, number=len(names), options=options))
        for root in roots
        for stem, path in by_stem(root, (".txt",)).items()
        if path not in _NO_LABELS
    ]
    return ForeignLabels(names, None, images, options.notes)


def _names(file: Path) -> list[str]:
    """The block `names:` of a data.yaml: a list, or a table from 0. Raises DataError."""
    remedy = "give the class file with --classes"
    lines = read_text(file, DataError, remedy).splitlines()
    start = next((index for index, line in enumerate(lines) if line.startswith("names:")), None)
    if start is None:
        raise DataError(file, "has no entry 'names'", remedy)
    rest = lines[start].removeprefix("names:").split(" #")[0].strip()
    if rest.startswith("["):
        return _listed(lines[start].partition("[")[2], file)
    names: list[str] = []
    for number, line in enumerate(lines[start + 1 :], start + 2):
        match = _ENTRY.fullmatch(line)
        if match is None:
            break
        if match[1] is not None and int(match[1]) != len(names):
            raise DataError(f"{file}: line {number}", f"class {match[1]} comes after {len(names) - 1}", remedy)
        names.append(_unquoted(match[2] or match[3], file))
    if rest or not names:
        raise DataError(file, "lists its names in a way that is not understood", remedy)
    return names


def _listed(text: str, file: Path) -> list[str]:
    """The names in a YAML list behind its opening bracket. Raises DataError."""
    names, position = [], 0
    while (item := _ITEM.match(text, position)) is not None:
        names.append(_unquoted(item[1], file))
        position = item.end()
    if not names or _LIST_END.fullmatch(text, position) is None:
        what = f"lists its names in a way that is not understood: {short(text[position:])}"
        raise DataError(file, what, "give the class file with --classes")
    return names


def _unquoted(text: str, file: Path) -> str:
    if text.startswith('"'):
        try:
            return str(json.loads(text))
        except ValueError as error:
            raise DataError(file, f"{text} is no class name", "give the class file with --classes") from error
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text.split(" #")[0].rstrip()


def _draw(height: int, width: int, *, file: Path, number: int, options: ImportOptions) -> LabelMap:
    canvas = Canvas(height, width, crossing=options.crossing, notes=options.notes)
    regions = []
    for line_number, line in enumerate(read_text(file, LabelError).splitlines(), 1):
        if line.strip():
            regions.append((*_region(line, f"{file}: line {line_number}", number), f"{file}: line {line_number}"))
    for train_id, ring, place in sorted(regions, key=lambda region: -ring_area(region[1])):
        canvas.polygons([ring * (width, height)], train_id, place)
    return canvas.labels


def _region(line: str, where: str, number: int) -> tuple[int, NDArray[np.float64]]:
    first, *rest = line.split()
    if not first.isdecimal() or len(first) > 4 or int(first) >= number:
        raise LabelError(where, f"class {short(first)} is none of 0 to {number - 1}", "correct it or the class list")
    if len(rest) == 4:
        raise LabelError(where, "is a box, which says nothing of pixels", "export polygons (segmentation)")
    ring = points(rest, where)
    if ring.size and (ring.min() < -0.01 or ring.max() > 1.01):
        raise LabelError(where, "has coordinates that are no fractions of the image", "divide x and y by its size")
    return int(first), ring
