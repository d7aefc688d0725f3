"""PASCAL VOC: palette PNGs in `SegmentationClass`, a list of images for each split, and CVAT's `labelmap.txt`.

Index 0 is background and 255 is void. A first class named "background" keeps index 0; otherwise index 0 stays unused
and the classes follow from 1.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from autolabel.classes import IGNORE
from autolabel.classes.class_set import Colour
from autolabel.classes.palettes import default_palette
from autolabel.data.decode import decode_image
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
    distinct_palette,
    image_items,
)
from autolabel.formats.documents import unique
from autolabel.formats.masks import MAX_MASK_BYTES, MAX_MASK_PIXELS, check_shape, decoded, plain_classes
from autolabel.user_files import read_text, read_user_file

BACKGROUND, VOID = (0, 0, 0), (224, 224, 192)
_IGNORED = "ignored"  # the name of void in a labelmap.txt: datumaro refuses colours that are not in it
LABELMAP = "labelmap.txt"
# The classes of the VOC challenges, for data sets without a labelmap.txt.
_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class VocWriter:
    def __init__(self, options: ExportOptions) -> None:
        names = options.classes.names
        if _IGNORED in names:
            raise DataError("classes", f"{_IGNORED!r} is VOC's name of void", "rename the class, or use mmseg")
        self._split = options.split
        self._shift = 0 if names[0] == "background" else 1
        if len(names) + self._shift > IGNORE:
            raise DataError("classes", f"{len(names)} classes and background do not fit into VOC's ids", "use mmseg")
        colours = distinct_palette(options.classes, [VOID] if not self._shift else [BACKGROUND, VOID])
        self._rows = [*[("background", BACKGROUND)] * self._shift, *zip(names, colours, strict=True)]
        self._palette = np.zeros((256, 3), np.uint8)
        self._palette[: len(self._rows)] = [colour for _, colour in self._rows]
        self._palette[IGNORE] = VOID
        self._stems: list[str] = []

    def add(self, item: ExportItem) -> Iterator[FileItem]:
        self._stems.append(item.stem)
        indices = np.where(item.labels == IGNORE, IGNORE, item.labels + np.uint8(self._shift)).astype(np.uint8)
        yield f"SegmentationClass/{item.stem}.png", palette_png(indices, self._palette)
        yield from image_items(item, "JPEGImages")

    def finish(self) -> Iterator[FileItem]:
        wrong = next((name for name, _ in self._rows if set(name) & set(":#\n\r")), None)
        if wrong is not None:
            raise DataError(
                "classes", f"{wrong!r} holds ':', '#' or a line break, which VOC cannot", "rename the class"
            )
        lines = [f"{name}:{r},{g},{b}::" for name, (r, g, b) in (*self._rows, (_IGNORED, VOID))]
        yield LABELMAP, ("# label:color_rgb:parts:actions\n" + "".join(f"{line}\n" for line in lines)).encode()
        yield f"ImageSets/Segmentation/{self._split}.txt", "".join(f"{stem}\n" for stem in self._stems).encode()


def palette_png(indices: np.ndarray, palette: np.ndarray) -> bytes:
    """A palette PNG of (H, W) uint8 indices and (256, 3) colours."""
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def read(folder: Path, options: ImportOptions) -> ForeignLabels:
    """The masks of `SegmentationClass`. Their colours count, which `labelmap.txt` explains; of grey masks, the indices.

    Raises DataError.
    """
    masks = folder / "SegmentationClass"
    if not masks.is_dir():
        raise DataError(folder, "has no folder 'SegmentationClass'", "give the root of the VOC data set")
    rows = _labelmap(folder / LABELMAP)
    names = check_names([name for name, _ in rows], folder / LABELMAP)
    colours = tuple(colour for _, colour in rows)
    by_colour = unique(((_packed(colour), index) for index, colour in enumerate(colours)), folder / LABELMAP, "colour")
    table = {_packed(VOID): IGNORE} | by_colour
    images = [
        ForeignImage(stem, None, str(masks / path), partial(_draw, file=masks / path, names=names, table=table))
        for stem, path in by_stem(masks, (".png",)).items()
    ]
    return ForeignLabels(names, colours, images, unused=("background",))


def _packed(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _draw(height: int, width: int, *, file: Path, names: tuple[str, ...], table: dict[int, int]) -> LabelMap:
    data = read_user_file(file, LabelError, at_most=MAX_MASK_BYTES)
    if data[24:26] == b"\x08\x00":  # 8-bit grey
        return decoded(data, height, width, file, plain_classes(names), "ids")
    pixels = decode_image(data, where=file, max_pixels=MAX_MASK_PIXELS).astype(np.int32)
    check_shape(pixels.shape[:2], height, width, file)
    packed = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    colours, inverse = np.unique(packed, return_inverse=True)
    unknown = [colour for colour in colours.tolist() if colour not in table]
    if unknown:
        shown = ", ".join(f"({c >> 16}, {c >> 8 & 255}, {c & 255})" for c in unknown[:3])
        what = f"has colours that {LABELMAP} does not list: {shown} and {len(unknown[3:])} more"
        raise LabelError(file, what, "add them there, or save the mask without compression or smoothing")
    ids = np.array([table[colour] for colour in colours.tolist()], np.uint8)
    labels: LabelMap = ids[inverse.reshape(packed.shape)]
    return labels


def _labelmap(file: Path) -> list[tuple[str, Colour]]:
    if not file.exists():
        return list(zip(_VOC, (BACKGROUND, *default_palette(20)), strict=True))
    rows = []
    for number, line in enumerate(read_text(file, DataError).splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(":")
            row = name, _colour(rest.split(":")[0], f"{file}: line {number}")
            rows.extend([row] if row != (_IGNORED, VOID) else [])
    return rows


def _colour(text: str, where: str) -> Colour:
    numbers = text.split(",")
    if len(numbers) != 3 or not all(n.strip().isdecimal() and int(n) < 256 for n in numbers):
        raise LabelError(where, f"{text!r} is no colour", "write name:red,green,blue::")
    return int(numbers[0]), int(numbers[1]), int(numbers[2])
