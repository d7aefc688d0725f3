"""FiftyOne: an image segmentation folder. Images in `data`, masks in `labels`; 0 is FiftyOne's "no label".

A mask holds train id + 1. FiftyOne matches image and mask by their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from autolabel.classes import IGNORE
from autolabel.formats.base import ExportItem, ExportOptions, FileItem, image_items
from autolabel.labels import png

TARGETS = "mask_targets.json"


class FiftyoneWriter:
    def __init__(self, options: ExportOptions) -> None:
        self._names = options.classes.names

    def add(self, item: ExportItem) -> Iterator[FileItem]:
        shifted = np.where(item.labels == IGNORE, 0, item.labels + np.uint8(1)).astype(np.uint8)
        yield f"labels/{item.stem}.png", png.encode(shifted)
        yield from image_items(item, "data")

    def finish(self) -> Iterator[FileItem]:
        yield TARGETS, json.dumps(dict(enumerate(self._names, 1)), indent=1).encode()
