"""COCO: one JSON file, a region of each class in an image as compressed run lengths, as COCO-Stuff has them.

Read are run lengths, compressed or not, and polygons. Where annotations overlap, the smaller one lies on top.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autolabel.classes.class_set import Colour
from autolabel.errors import LabelError
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
from autolabel.formats.coco_rle import from_text, to_text
from autolabel.formats.documents import field, points, read_json, short, unique, whole
from autolabel.formats.masks import colours_of
from autolabel.formats.runs import Counts, class_runs

FILE = "annotations.json"


class CocoWriter:
    def __init__(self, options: ExportOptions) -> None:
        rows = options.class_rows()
        self._ids = {train_id: number for number, (train_id, _, _) in enumerate(rows, 1)}
        names = [
            {"id": n, "name": name, "supercategory": "", "color": colour} for n, (_, name, colour) in enumerate(rows, 1)
        ]
        self._categories = names
        self._images: list[dict[str, Any]] = []
        self._annotations: list[str] = []

    def add(self, item: ExportItem) -> Iterator[FileItem]:
        height, width = item.labels.shape
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": item.name, "height": height, "width": width})
        for train_id, counts in class_runs(item.labels.reshape(-1, order="F")).items():
            if train_id in self._ids:
                bottom_right = np.cumsum(counts)
                row = {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": self._ids[train_id],
                    "iscrowd": 0,
                    "area": int(counts[1::2].sum()),
                    "bbox": _box(bottom_right, height),
                    "segmentation": {"size": [height, width], "counts": to_text(counts)},
                }
                self._annotations.append(json.dumps(row))
        yield from image_items(item, "images")

    def finish(self) -> Iterator[FileItem]:
        info = {"description": "semantic label maps exported by autolabel", "version": "1.0"}
        head = {"info": info, "licenses": [], "categories": self._categories, "images": self._images}
        text = json.dumps(head)[:-1] + ', "annotations": [' + ",\n".join(self._annotations) + "]}\n"
        yield FILE, text.encode()


def _box(ends: np.ndarray, height: int) -> list[int]:
    """x, y, width, height of the runs down the columns that end here."""
    starts, last = ends[:-1:2], ends[1::2] - 1
    left, right = int(starts[0] // height), int(last[-1] // height)
    whole_columns = bool((last // height > starts // height).any())  # such a run passes the last row and the first
    top = 0 if whole_columns else int((starts % height).min())
    bottom = height - 1 if whole_columns else int((last % height).max())
    return [left, top, right - left + 1, bottom - top + 1]


def read(file: Path, options: ImportOptions) -> ForeignLabels:
    """The images of a COCO file of instances or stuff. Raises DataError."""
    return from_document(read_json(file), file, options)


def from_document(document: Any, where: object, options: ImportOptions) -> ForeignLabels:
    categories = [
        _category(row, f"{where}: categories[{i}]") for i, row in enumerate(field(document, "categories", list, where))
    ]
    ordered = sorted(unique(((id_, (name, colour)) for id_, name, colour in categories), where, "category id").items())
    train_ids = {id_: index for index, (id_, _) in enumerate(ordered)}
    names = check_names([name for _, (name, _) in ordered], f"{where}: categories")
    colours = [colour for _, (_, colour) in ordered if colour is not None]
    annotations: dict[int, list[tuple[int, dict[str, Any]]]] = {}
    images = [_image_id(row, f"{where}: images[{i}]") for i, row in enumerate(field(document, "images", list, where))]
    rows = unique(images, where, "image id")
    for index, row in enumerate(field(document, "annotations", list, where)):
        place = f"{where}: annotations[{index}]"
        image_id = whole(field(row, "image_id", object, place), f"{place}: image_id")
        if image_id not in rows:
            raise LabelError(place, f"belongs to image id {image_id}, which the file does not list", "export it again")
        annotations.setdefault(image_id, []).append((index, row))
    return ForeignLabels(
        names=names,
        palette=tuple(colours) if len(colours) == len(names) else None,
        images=[_image(row, annotations.get(id_, []), train_ids, where, options) for id_, row in rows.items()],
        notes=options.notes,
    )


def _category(row: Any, where: str) -> tuple[int, str, Colour | None]:
    id_ = whole(field(row, "id", object, where), where)
    colours = colours_of([row.get("color")], 1)
    return id_, field(row, "name", str, where), None if colours is None else colours[0]


def _image_id(row: Any, where: str) -> tuple[int, dict[str, Any]]:
    return whole(field(row, "id", object, where), f"{where}: id"), row


def _image(
    row: dict[str, Any], rows: list[tuple[int, Any]], train_ids: dict[int, int], where: object, options: ImportOptions
) -> ForeignImage:
    place = f"{where}: image id {row['id']}"
    size = None
    if "height" in row and "width" in row:
        size = whole(row["height"], place), whole(row["width"], place)
    draw = partial(_draw, rows=rows, train_ids=train_ids, where=where, options=options)
    return ForeignImage(field(row, "file_name", str, place), size, place, draw)


def _draw(
    height: int,
    width: int,
    *,
    rows: list[tuple[int, Any]],
    train_ids: dict[int, int],
    where: object,
    options: ImportOptions,
) -> LabelMap:
    canvas = Canvas(height, width, columns=True, crossing=options.crossing, notes=options.notes)
    for index, row in sorted(rows, key=lambda numbered: (-_area(numbered[1]), numbered[0])):
        place = f"{where}: annotations[{index}]"
        category = whole(field(row, "category_id", object, place), place)
        if category not in train_ids:
            raise LabelError(
                place, f"category id {category} is not listed", "add the category or remove the annotation"
            )
        draw_segmentation(canvas, row.get("segmentation"), train_ids[category], place)
    return canvas.labels


def _area(row: dict[str, Any]) -> float:
    """As stated, else of the region itself: some tools leave it out or write 0."""
    stated = row.get("area")
    if isinstance(stated, int | float) and stated > 0:
        return float(stated)
    segmentation = row.get("segmentation")
    try:
        if isinstance(segmentation, dict):
            return float(_counts(segmentation, "")[1::2].sum())
        return sum(ring_area(points(ring, "")) for ring in _rings(segmentation))
    except LabelError:  # drawing it says why
        return 0.0


def draw_segmentation(canvas: Canvas, segmentation: object, value: int, where: str) -> None:
    """Draw polygons, or run lengths as text or numbers. Raises LabelError."""
    if isinstance(segmentation, dict):
        size = field(segmentation, "size", list, where)
        if list(canvas.labels.shape) != size:
            height, width = canvas.labels.shape
            what = f"run lengths of size {short(size)} (height, width), the image is {height} x {width}"
            raise LabelError(where, what, "is it of another image? export it again")
        canvas.runs(_counts(segmentation, where), value, where)
    elif rings := _rings(segmentation):
        canvas.polygons([points(ring, where) for ring in rings], value, where)
    else:
        raise LabelError(where, "has no segmentation (a box alone says nothing of pixels)", "draw it or remove it")


def _rings(segmentation: object) -> list[Any]:
    """The polygons of a region; some tools write a single one without a list around it."""
    if not isinstance(segmentation, list) or not segmentation:
        return []
    return segmentation if isinstance(segmentation[0], list) else [segmentation]


def _counts(segmentation: dict[str, Any], where: str) -> Counts:
    counts = segmentation.get("counts")
    return from_text(counts, where) if isinstance(counts, str) else _numbers(counts, where)


def _numbers(counts: object, where: str) -> np.ndarray:
    if not isinstance(counts, list) or not all(type(count) is int and 0 <= count < 2**40 for count in counts):
        raise LabelError(where, "the counts are no list of whole numbers", "export the annotation again")
    return np.array(counts, np.int64)
