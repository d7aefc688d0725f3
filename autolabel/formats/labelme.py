"""labelme: a JSON file per image with polygons, rectangles, circles and masks. Later shapes lie on top."""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autolabel.data.decode import decoding
from autolabel.data.sources.listing import by_stem
from autolabel.errors import DataError, LabelError
from autolabel.formats.base import ForeignImage, ForeignLabels, ImportOptions, LabelMap, check_names
from autolabel.formats.canvas import Canvas
from autolabel.formats.cvat import ellipse, turned
from autolabel.formats.documents import field, points, read_json, typed, whole
from autolabel.labels.png import SIGNATURE


def read(path: Path, options: ImportOptions) -> ForeignLabels:
    """One JSON file, or all below a folder; classes from `options`, or all labels in the order of their names.

    Raises DataError.
    """
    if path.is_dir():
        files = {f"{stem}.json": path / name for stem, name in by_stem(path, (".json",)).items()}
    else:
        files = {path.name: path}
    if not files:
        raise DataError(path, "holds no JSON file", "give the folder of labelme's files")
    notes = options.notes
    documents = [(name, file, _shapes(file, notes)) for name, file in files.items()]
    labels = {field(shape, "label", str, place) for _, _, (_, shapes) in documents for place, shape in shapes}
    unknown = sorted(labels - set(options.names)) if options.names else []
    if unknown:
        raise LabelError(path, f"has labels that --classes does not name: {', '.join(unknown[:5])}", "add them there")
    names = check_names(options.names or sorted(labels), path)
    images = [_image(name, file, head, shapes, names, options) for name, file, (head, shapes) in documents]
    return ForeignLabels(names, None, images, notes, names_are_typed=not options.names)


_Shapes = list[tuple[str, dict[str, Any]]]


def _shapes(file: Path, notes: Counter[str]) -> tuple[dict[str, Any], _Shapes]:
    """The document without its image, and the shapes that define a region, each with its place."""
    document = read_json(file)
    shapes = []
    for index, shape in enumerate(field(document, "shapes", list, file)):
        place = f"{file}: shapes[{index}]"
        if not isinstance(shape, dict):
            raise LabelError(place, "is no object", "save the image in labelme again")
        form = typed(shape.get("shape_type") or "polygon", str, f"{place}: shape_type")
        if form in _RINGS or form == "mask":
            shapes.append((place, shape))
        else:
            notes[form] += 1
    return {key: value for key, value in document.items() if key not in ("imageData", "shapes")}, shapes


def _image(
    name: str, file: Path, head: dict[str, Any], shapes: _Shapes, names: tuple[str, ...], options: ImportOptions
) -> ForeignImage:
    """The image lies where its JSON file lies, so that equal names in several folders stay apart."""
    image_path = field(head, "imagePath", str, file).replace("\\", "/")
    size = None
    if head.get("imageHeight") is not None and head.get("imageWidth") is not None:
        size = whole(head["imageHeight"], f"{file}: imageHeight"), whole(head["imageWidth"], f"{file}: imageWidth")
    train_ids = {label: index for index, label in enumerate(names)}
    draw = partial(_draw, shapes=shapes, train_ids=train_ids, options=options)
    place = PurePosixPath(name).parent / PurePosixPath(image_path).name
    return ForeignImage(str(place), size, str(file), draw)


def _draw(height: int, width: int, *, shapes: _Shapes, train_ids: dict[str, int], options: ImportOptions) -> LabelMap:
    canvas = Canvas(height, width, crossing=options.crossing, notes=options.notes)
    for place, shape in shapes:
        value, form = train_ids[shape["label"]], shape.get("shape_type") or "polygon"
        corners = points(field(shape, "points", list, place), place)
        if form == "mask":
            _draw_mask(canvas, shape, corners, value, place)
        else:
            canvas.polygons([_RINGS[form](corners, place)], value, place)
    return canvas.labels


def _draw_mask(canvas: Canvas, shape: dict[str, Any], corners: NDArray[np.float64], value: int, where: str) -> None:
    """A PNG in base64 whose upper left pixel is the first point."""
    try:
        data = base64.b64decode(field(shape, "mask", str, where), validate=True)
    except (binascii.Error, ValueError) as error:
        raise LabelError(where, "the mask is no base64 text", "save the image in labelme again") from error
    left, top = (int(number) for number in (corners[0] if len(corners) else (-1, -1)))
    if not data.startswith(SIGNATURE):
        raise LabelError(where, "the mask is no PNG", "save the image in labelme again")
    with decoding(where, "the mask cannot be decoded", LabelError):
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        width, height = image.size
        fits = (
            top >= 0 and left >= 0 and top + height <= canvas.labels.shape[0] and left + width <= canvas.labels.shape[1]
        )
        mask = np.array(image.convert("L")) > 0 if fits else None
    if mask is None:
        raise LabelError(where, "the mask does not lie in its image", "save the image in labelme again")
    canvas.mask(mask, value, where, top=top, left=left)


def _polygon(corners: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    return corners


def _two(corners: NDArray[np.float64], where: str) -> list[float]:
    if len(corners) != 2:
        raise LabelError(where, f"has {len(corners)} points instead of 2", "draw it again")
    return [float(value) for value in corners.ravel()]


def _rectangle(corners: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    x, y, x2, y2 = _two(corners, where)
    return turned([(x, y), (x2, y), (x2, y2), (x, y2)], 0)


def _circle(corners: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    x, y, x2, y2 = _two(corners, where)
    radius = math.hypot(x2 - x, y2 - y)
    return turned(ellipse(x, y, radius, radius), 0)


_RINGS: dict[str, Callable[[NDArray[np.float64], str], NDArray[np.float64]]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "circle": _circle,
}
