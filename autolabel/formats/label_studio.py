"""Label Studio: a JSON list of tasks with brush masks as predictions, and the labelling interface for the project.

Read are brushes, polygons, rectangles and ellipses of annotations, or of predictions where a task has no annotation.
Later regions lie on top. Label Studio gives coordinates in percent of the image.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

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
from autolabel.formats.brush_rle import decode, encode
from autolabel.formats.canvas import Canvas
from autolabel.formats.cvat import ellipse, turned
from autolabel.formats.documents import field, points, read_json, short, typed, whole
from autolabel.formats.runs import class_runs

TASKS, INTERFACE = "tasks.json", "interface.xml"
PREFIX = "/data/local-files/?d="


class LabelStudioWriter:
    def __init__(self, options: ExportOptions) -> None:
        self._rows = options.class_rows()
        self._prefix = options.image_prefix or PREFIX
        self._tasks: list[str] = []

    def add(self, item: ExportItem) -> Iterator[FileItem]:
        height, width = item.labels.shape
        runs = class_runs(item.labels.reshape(-1))
        named = [(train_id, name) for train_id, name, _ in self._rows if train_id in runs]
        result = [_region(encode(runs[train_id]), name, height, width) for train_id, name in named]
        data = {"image": self._prefix + quote(item.name), "name": item.name}
        prediction = {"model_version": "autolabel", "result": result}
        self._tasks.append(json.dumps({"data": data, "predictions": [prediction]}))
        yield from image_items(item, "images")

    def finish(self) -> Iterator[FileItem]:
        labels = "".join(
            f'    <Label value={quoteattr(name)} background="#{r:02x}{g:02x}{b:02x}"/>\n'
            for _, name, (r, g, b) in self._rows
        )
        brush = f'  <BrushLabels name="label" toName="image">\n{labels}  </BrushLabels>\n'
        yield INTERFACE, f'<View>\n  <Image name="image" value="$image" zoom="true"/>\n{brush}</View>\n'.encode()
        yield TASKS, ("[" + ",\n".join(self._tasks) + "]\n").encode()


def _region(rle: list[int], name: str, height: int, width: int) -> dict[str, Any]:
    return {
        "type": "brushlabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": rle, "brushlabels": [name]},
    }


def read(file: Path, options: ImportOptions) -> ForeignLabels:
    """The tasks of a JSON export. Raises DataError."""
    return from_document(read_json(file), file, options)


def from_document(document: Any, where: object, options: ImportOptions) -> ForeignLabels:
    """Classes are those of `options`, or the labels in the file, in the order of their names."""
    notes = options.notes
    tasks = [_Task(task, f"{where}: task {i}", notes) for i, task in enumerate(typed(document, list, where))]
    labels = {name for task in tasks for name in task.labels()}
    unknown = sorted(labels - set(options.names)) if options.names else []
    if unknown:
        raise LabelError(where, f"has labels that --classes does not name: {', '.join(unknown[:5])}", "add them there")
    names = check_names(options.names or sorted(labels), where)
    return ForeignLabels(names, None, [task.image(names, options) for task in tasks], notes)


class _Task:
    def __init__(self, task: Any, where: str, notes: Counter[str]) -> None:
        self.where = where
        self.name = _image_name(field(task, "data", dict, where), where)
        self.annotation = _annotation(task, where)
        regions = field(self.annotation, "result", list, where)
        self.regions = [(f"{where}, region {i}", region) for i, region in enumerate(regions)]
        for place, region in list(self.regions):
            if field(region, "type", str, place) not in _LABEL_KEYS:
                notes[region["type"]] += 1
                self.regions.remove((place, region))
            elif region.get("image_rotation"):
                what = f"is drawn on an image turned by {short(region['image_rotation'])} degrees"
                raise LabelError(place, what, "turn the image back in Label Studio, and export again")

    def labels(self) -> list[str]:
        return [_label(region, place) for place, region in self.regions]

    def image(self, names: tuple[str, ...], options: ImportOptions) -> ForeignImage:
        sizes = {_size(region, place) for place, region in self.regions}
        if len(sizes) > 1:
            raise LabelError(self.where, "its regions state different sizes of the image", "export it again")
        train_ids = {name: index for index, name in enumerate(names)}
        draw = partial(_draw, regions=self.regions, train_ids=train_ids, options=options)
        author = self.annotation.get("completed_by", "")
        author = author.get("email", "") if isinstance(author, dict) else author
        time = self.annotation.get("updated_at") or self.annotation.get("created_at") or ""
        return ForeignImage(self.name, next(iter(sizes), None), self.where, draw, str(author), str(time))


def _image_name(data: dict[str, Any], where: str) -> str:
    """The name that our export writes, or the path in the image's address."""
    if isinstance(data.get("name"), str):
        return str(data["name"])
    address = field(data, "image", str, where)
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    path = parts.query.removeprefix("d=") if parts.query.startswith("d=") else parts.path
    return unquote(path)


def _annotation(task: dict[str, Any], where: str) -> dict[str, Any]:
    """The one annotation that counts; the prediction where nobody has annotated; an empty one without both."""
    annotations, predictions = (
        [typed(row, dict, where) for row in typed(task.get(key) or [], list, f"{where}: {key}")]
        for key in ("annotations", "predictions")
    )
    rows = [row for row in annotations if not row.get("was_cancelled")]
    rows = [row for row in rows if row.get("ground_truth")] or rows or predictions
    if len(rows) > 1:
        remedy = "mark one as ground truth, or delete the others"
        raise LabelError(where, f"has {len(rows)} annotations, which may differ", remedy)
    return rows[0] if rows else {"result": []}


def _size(region: dict[str, Any], where: str) -> tuple[int, int]:
    return tuple(whole(field(region, f"original_{key}", object, where), where) for key in ("height", "width"))  # type: ignore[return-value]


def _label(region: dict[str, Any], where: str) -> str:
    value = field(region, "value", dict, where)
    labels = next((value[key] for key in (*_LABEL_KEYS, "labels") if key in value), None)
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        raise LabelError(where, "needs exactly one label", "choose one label for the region")
    return labels[0]


def _draw(
    height: int,
    width: int,
    *,
    regions: list[tuple[str, dict[str, Any]]],
    train_ids: dict[str, int],
    options: ImportOptions,
) -> LabelMap:
    canvas = Canvas(height, width, crossing=options.crossing, notes=options.notes)
    for place, region in regions:
        value, train_id = region["value"], train_ids[_label(region, place)]
        if "rle" in value:
            canvas.mask(decode(value["rle"], height, width, place), train_id, place)
        else:
            percent = _RINGS[_LABEL_KEYS[region["type"]]](value, place)
            canvas.polygons([percent * (width / 100, height / 100)], train_id, place)
    return canvas.labels


def _polygon(value: dict[str, Any], where: str) -> NDArray[np.float64]:
    return points(field(value, "points", list, where), where)


def _numbers(value: dict[str, Any], keys: tuple[str, ...], where: str) -> list[float]:
    return points([[value.get(key), value.get(key)] for key in keys], where)[:, 0].tolist()  # type: ignore[no-any-return]


def _rectangle(value: dict[str, Any], where: str) -> NDArray[np.float64]:
    x, y, width, height = _numbers(value, ("x", "y", "width", "height"), where)
    _refuse_rotation(value, where)
    return turned([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], 0)


def _ellipse(value: dict[str, Any], where: str) -> NDArray[np.float64]:
    _refuse_rotation(value, where)
    return turned(ellipse(*_numbers(value, ("x", "y", "radiusX", "radiusY"), where)), 0)


def _refuse_rotation(value: dict[str, Any], where: str) -> None:
    if value.get("rotation"):
        raise LabelError(where, "is rotated", "draw it as a polygon or with the brush")


_LABEL_KEYS = {  # type of a region, which is also the key of its labels -> its shape
    "brushlabels": "brush",
    "polygonlabels": "polygon",
    "rectanglelabels": "rectangle",
    "ellipselabels": "ellipse",
}
_RINGS: dict[str, Callable[[dict[str, Any], str], NDArray[np.float64]]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "ellipse": _ellipse,
    "brush": _polygon,
}
