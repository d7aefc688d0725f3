"""The table of formats: what writes one, what reads it, and whether it can say ignore."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autolabel.formats import (
    cityscapes,
    coco,
    cvat,
    fiftyone,
    hf,
    label_studio,
    labelme,
    masks,
    mmseg,
    voc,
    yolo,
)
from autolabel.formats.base import ExportOptions, Reader, Writer


@dataclass(frozen=True)
class Format:
    """`has_ignore`: a pixel can be ignore in the format itself. `remark` is printed after an export."""

    writer: Callable[[ExportOptions], Writer] | None = None
    reader: Reader | None = None
    has_ignore: bool = True
    holds_images: bool = False
    names_images: bool = False
    remark: str = ""


FORMATS: dict[str, Format] = {
    "mmseg": Format(mmseg.MmsegWriter, mmseg.read),
    "voc": Format(voc.VocWriter, voc.read),
    "coco": Format(coco.CocoWriter, coco.read, has_ignore=False, names_images=True),
    "yolo": Format(
        yolo.YoloWriter,
        yolo.read,
        has_ignore=False,
        remark="YOLO's polygons are not exact in every reader: most draw borders up to a pixel too wide",
    ),
    "cityscapes": Format(cityscapes.CityscapesWriter),
    "hf": Format(hf.HfWriter, hf.read, holds_images=True, names_images=True),
    "cvat": Format(cvat.CvatWriter, cvat.read, has_ignore=False, names_images=True),
    "label-studio": Format(label_studio.LabelStudioWriter, label_studio.read, has_ignore=False, names_images=True),
    "fiftyone": Format(fiftyone.FiftyoneWriter, holds_images=True, names_images=True),
    "labelme": Format(reader=labelme.read),
    "mask": Format(reader=masks.read),
}
WRITERS = tuple(name for name, format in FORMATS.items() if format.writer)
READERS = tuple(name for name, format in FORMATS.items() if format.reader)
