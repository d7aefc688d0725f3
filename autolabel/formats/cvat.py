"""CVAT for images 1.1: one XML file, a mask of run lengths for each class of an image.

Read are masks, polygons, boxes and ellipses. Where they overlap, the higher `z_order` lies on top, then the later one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from autolabel.classes.class_set import Colour
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
from autolabel.formats.canvas import Canvas
from autolabel.formats.documents import MAX_BYTES, points, whole
from autolabel.formats.runs import class_runs
from autolabel.user_files import read_user_file

FILE = "annotations.xml"
_REGIONS = ("mask", "polygon", "box", "ellipse")
_OTHER = ("polyline", "points", "cuboid", "skeleton", "tag")


class CvatWriter:
    def __init__(self, options: ExportOptions) -> None:
        self._rows = options.class_rows()
        self._images: list[str] = []

    def add(self, item: ExportItem) -> Iterator[FileItem]:
        height, width = item.labels.shape
        lines = [f'  <image id="{len(self._images)}" name={quoteattr(item.name)} width="{width}" height="{height}">\n']
        present = np.flatnonzero(np.bincount(item.labels.ravel(), minlength=256))
        for train_id, name, _ in self._rows:
            if train_id in present:
                lines.append(_mask(item.labels, train_id, name))
        self._images.append("".join(lines) + "  </image>\n")
        yield from image_items(item, "images")

    def finish(self) -> Iterator[FileItem]:
        labels = "".join(
            f"        <label><name>{escape(name)}</name><color>#{r:02x}{g:02x}{b:02x}</color>"
            "<type>any</type><attributes></attributes></label>\n"
            for _, name, (r, g, b) in self._rows
        )
        text = (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
            f"      <size>{len(self._images)}</size>\n      <mode>annotation</mode>\n"
            f"      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n"
        )
        yield FILE, (text + "".join(self._images) + "</annotations>\n").encode()


def _mask(labels: LabelMap, train_id: int, name: str) -> str:
    mask = labels == train_id
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    counts = class_runs(mask[top:bottom, left:right].astype(np.uint8).ravel())[1]
    return (
        f'    <mask label={quoteattr(name)} source="auto" occluded="0" rle="{", ".join(map(str, counts.tolist()))}" '
        f'left="{left}" top="{top}" width="{right - left}" height="{bottom - top}" z_order="0"></mask>\n'
    )


class _Parser:
    """Collects labels and images; refuses declarations, which can make a small file expand without end."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.colours: list[str] = []
        self.images: list[tuple[dict[str, str], list[tuple[str, dict[str, str], int]]]] = []
        self.notes: Counter[str] = Counter()
        self.root = ""
        self._path: list[str] = []
        self._text = ""
        self._expat = expat.ParserCreate()
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._data
        self._expat.StartDoctypeDeclHandler = self._doctype
        self._expat.buffer_text = True

    def parse(self, data: bytes, where: object) -> None:
        try:
            self._expat.Parse(data, True)
        except expat.ExpatError as error:
            raise DataError(where, f"is not valid XML: {error}", "is it cut short? export it again") from error
        except (ValueError, LookupError) as error:  # a declared encoding that does not exist
            raise DataError(where, f"is not valid XML: {error}", "export it again") from error
        if self.root != "annotations":
            what = f"is no file of CVAT for images 1.1 (its root is {self.root!r})"
            raise DataError(where, what, "export the task or job as 'CVAT for images 1.1'")

    def _doctype(self, *_: object) -> None:
        raise ValueError("a document type is declared, which CVAT never does")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self.root = self.root or tag
        self._path.append(tag)
        self._text = ""
        if tag == "image":
            self.images.append((attributes, []))
        elif tag == "track":
            raise ValueError("it holds tracks of a video; export 'CVAT for images 1.1' instead")
        elif tag in _REGIONS and self.images:
            self.images[-1][1].append((tag, attributes, self._expat.CurrentLineNumber))
        elif tag in _OTHER and "image" in self._path:
            self.notes[tag] += 1

    def _data(self, text: str) -> None:
        self._text = (self._text + text)[:1000]

    def _end(self, tag: str) -> None:
        self._path.pop()
        if self._path[-1:] == ["label"]:
            if tag == "name":
                self.names.append(self._text)
            elif tag == "color":
                self.colours.append(self._text)


def read(file: Path, options: ImportOptions) -> ForeignLabels:
    """The images of `annotations.xml`. Raises DataError."""
    data = read_user_file(file, DataError, "give the annotations.xml of CVAT's archive", at_most=MAX_BYTES)
    return from_bytes(data, file, options)


def from_bytes(data: bytes, where: object, options: ImportOptions) -> ForeignLabels:
    parser = _Parser()
    parser.parse(data, where)
    names = check_names(list(dict.fromkeys(parser.names)), f"{where}: labels")  # a project lists them once a task
    colours = [colour for colour in map(_colour, parser.colours) if colour is not None]
    images = [_image(row, shapes, names, where, options) for row, shapes in parser.images]
    palette = tuple(colours) if len(colours) == len(names) else None
    options.notes.update(parser.notes)
    return ForeignLabels(names, palette, images, options.notes)


def _colour(text: str) -> Colour | None:
    try:
        red, green, blue = bytes.fromhex(text.removeprefix("#"))
    except ValueError:
        return None
    return red, green, blue


def _image(
    row: dict[str, str],
    shapes: list[tuple[str, dict[str, str], int]],
    names: tuple[str, ...],
    where: object,
    options: ImportOptions,
) -> ForeignImage:
    place = f"{where}: image {row.get('name', '')!r}"
    size = whole(row.get("height"), f"{place}: height"), whole(row.get("width"), f"{place}: width")
    draw = partial(_draw, shapes=shapes, names=names, where=where, options=options)
    return ForeignImage(row.get("name", ""), size, place, draw)


def _draw(
    height: int,
    width: int,
    *,
    shapes: list[tuple[str, dict[str, str], int]],
    names: tuple[str, ...],
    where: object,
    options: ImportOptions,
) -> LabelMap:
    canvas = Canvas(height, width, crossing=options.crossing, notes=options.notes)
    train_ids = {name: index for index, name in enumerate(names)}
    for tag, row, line in sorted(shapes, key=lambda shape: whole(shape[1].get("z_order", 0), f"{where}: z_order")):
        place = f"{where}: line {line}"
        name = row.get("label", "")
        if name not in train_ids:
            raise LabelError(place, f"label {name!r} is not listed under <labels>", "export it again")
        if tag == "mask":
            _draw_mask(canvas, row, train_ids[name], place)
        else:
            canvas.polygons([_RINGS[tag](row, place)], train_ids[name], place)
    return canvas.labels


def _draw_mask(canvas: Canvas, row: dict[str, str], value: int, where: str) -> None:
    top, left, height, width = (whole(row.get(key), f"{where}: {key}") for key in ("top", "left", "height", "width"))
    try:
        counts = np.array([int(count) for count in row.get("rle", "").split(",")], np.int64)
    except (ValueError, OverflowError) as error:
        raise LabelError(where, "the rle is no list of whole numbers", "export the annotation again") from error
    canvas.box_runs(counts, (top, left, height, width), value, where)


def _polygon(row: dict[str, str], where: str) -> NDArray[np.float64]:
    return points([pair.split(",") for pair in row.get("points", "").split(";")], where)


def _numbers(row: dict[str, str], keys: tuple[str, ...], where: str) -> list[float]:
    return points([[row.get(key, ""), row.get(key, "")] for key in keys], where)[:, 0].tolist()  # type: ignore[no-any-return]


def _box(row: dict[str, str], where: str) -> NDArray[np.float64]:
    left, top, right, bottom = _numbers(row, ("xtl", "ytl", "xbr", "ybr"), where)
    (turn,) = _numbers({"rotation": "0"} | row, ("rotation",), where)
    return turned([(left, top), (right, top), (right, bottom), (left, bottom)], turn)


def _ellipse(row: dict[str, str], where: str) -> NDArray[np.float64]:
    x, y, rx, ry = _numbers(row, ("cx", "cy", "rx", "ry"), where)
    (turn,) = _numbers({"rotation": "0"} | row, ("rotation",), where)
    return turned(ellipse(x, y, rx, ry), turn)


def ellipse(x: float, y: float, rx: float, ry: float) -> list[tuple[float, float]]:
    """A polygon of 360 points."""
    angles = [2 * math.pi * step / 360 for step in range(360)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


def turned(ring: list[tuple[float, float]], degrees: float) -> NDArray[np.float64]:
    """The ring, turned clockwise about its centre."""
    table = np.array(ring)
    centre = (table.min(axis=0) + table.max(axis=0)) / 2
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    if degrees == 0:
        return table
    result: NDArray[np.float64] = (table - centre) @ np.array([[cosine, sine], [-sine, cosine]]) + centre
    return result


_RINGS = {"polygon": _polygon, "box": _box, "ellipse": _ellipse}
