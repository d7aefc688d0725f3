"""MMSegmentation: grey PNGs of train ids (255 = ignore) in `ann_dir/SPLIT`, and class names in one JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autolabel.errors import DataError
from autolabel.formats.base import (
    ExportItem,
    ExportOptions,
    FileItem,
    ForeignLabels,
    ImportOptions,
    check_names,
    image_items,
)
from autolabel.formats.documents import field, read_json
from autolabel.formats.masks import colours_of, mask_images, plain_classes
from autolabel.labels import png

META = "metainfo.json"


class MmsegWriter:
    def __init__(self, options: ExportOptions) -> None:
        self._options = options

    def add(self, item: ExportItem) -> Iterator[FileItem]:
        yield f"ann_dir/{self._options.split}/{item.stem}.png", png.encode(item.labels)
        yield from image_items(item, f"img_dir/{self._options.split}")

    def finish(self) -> Iterator[FileItem]:
        classes = self._options.classes
        meta: dict[str, Any] = {"classes": classes.names, "palette": classes.palette}
        yield META, json.dumps(meta, indent=1).encode()


def read(folder: Path, options: ImportOptions) -> ForeignLabels:
    """The masks below `ann_dir/SPLIT` for all splits; classes from `options` or `metainfo.json`. Raises DataError."""
    masks = folder / "ann_dir"
    if not masks.is_dir():
        raise DataError(folder, "has no folder 'ann_dir'", "give the root of the mmseg data set")
    names, palette = options.names, None
    if not names:
        meta = read_json(folder / META)
        names = check_names(field(meta, "classes", list, folder / META), folder / META)
        palette = colours_of(meta.get("palette"), len(names))
    images = [
        image
        for split in sorted(path for path in masks.iterdir() if path.is_dir())
        for image in mask_images(split, plain_classes(names), "ids")
    ]
    return ForeignLabels(names, palette, images)
