"""Cityscapes: `gtFine/SPLIT/CITY/CITY_SEQUENCE_FRAME_gtFine_labelIds.png`, `_labelTrainIds.png` and `_color.png`.

The classes must be Cityscapes' own, by name; their ids and colours are those of its scripts. Ignore is 0 (unlabeled)
in labelIds and 255 in labelTrainIds.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from autolabel.classes import CLASS_SETS, IGNORE
from autolabel.errors import DataError
from autolabel.formats.base import ExportItem, ExportOptions, FileItem
from autolabel.labels import png

_NAME = re.compile(r"(?P<city>[^_/]+)_(?P<sequence>[0-9]{6})_(?P<frame>[0-9]{6})(_leftImg8bit)?")
INDEX = "images.csv"


class CityscapesWriter:
    def __init__(self, options: ExportOptions) -> None:
        known = CLASS_SETS["cityscapes"]
        names = options.classes.names
        other = [name for name in names if name not in known.names]
        if other:
            what = f"{', '.join(other[:5])}: no class of Cityscapes has this name"
            raise DataError("classes", what, "export as mmseg or voc, which take any classes")
        train_ids = [known.names.index(name) for name in names]
        self._train_ids = _table(train_ids, IGNORE)
        self._ids = _table([known.ids[train_id] for train_id in train_ids], 0)
        self._colours = np.zeros((256, 3), np.uint8)
        self._colours[: len(names)] = [known.palette[train_id] for train_id in train_ids]
        self._split = options.split
        self._rows: list[tuple[str, str]] = []

    def add(self, item: ExportItem) -> Iterator[FileItem]:
        name = self._name(item)
        self._rows.append((item.name, name))
        city = name.split("_")[0]
        place = f"gtFine/{self._split}/{city}/{name}_gtFine"
        yield f"{place}_labelIds.png", png.encode(self._ids[item.labels])
        yield f"{place}_labelTrainIds.png", png.encode(self._train_ids[item.labels])
        yield f"{place}_color.png", _rgb_png(self._colours[item.labels])
        if item.image is not None:
            suffix = PurePosixPath(item.name).suffix
            yield f"leftImg8bit/{self._split}/{city}/{name}_leftImg8bit{suffix}", item.image

    def _name(self, item: ExportItem) -> str:
        """The image's own name if it is one of Cityscapes; another one is numbered, and the table says which it is."""
        match = _NAME.fullmatch(PurePosixPath(item.stem).name)
        if match:
            return "{city}_{sequence}_{frame}".format(**match.groupdict())
        return f"autolabel_{len(self._rows):06}_000000"

    def finish(self) -> Iterator[FileItem]:
        if len({name for _, name in self._rows}) < len(self._rows):
            raise DataError("images", "two of them have the same Cityscapes name", "export one folder at a time")
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("image", "name"), *self._rows])
        yield INDEX, text.getvalue().encode()


def _table(values: list[int], ignore: int) -> np.ndarray:
    table = np.full(256, ignore, np.uint8)
    table[: len(values)] = values
    return table


def _rgb_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
