"""Label maps that formats lose most easily, and the way out and in again through the files of a format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from autolabel.classes import IGNORE, ClassSet
from autolabel.classes.palettes import default_palette
from autolabel.formats.base import ExportItem, ExportOptions, ForeignLabels, ImportOptions
from autolabel.formats.registry import FORMATS
from tests.data.image_files import encoded

LabelMap = NDArray[np.uint8]


def classes_of(number: int) -> ClassSet:
    names = tuple(f'class {index} <&"ß"\'>' for index in range(number))
    return ClassSet("x", names, default_palette(number), tuple(range(number)), (IGNORE,))


def adversarial() -> dict[str, tuple[LabelMap, int]]:
    """Name -> (map, number of classes)."""
    rng = np.random.default_rng(3)
    rings = np.full((21, 17), 2, np.uint8)
    for depth in range(8):  # a hole in a region in a hole ...
        rings[depth : 21 - depth, depth : 17 - depth] = depth % 3
    chequered = (np.indices((9, 12)).sum(axis=0) % 2).astype(np.uint8)
    holes = np.zeros((9, 11), np.uint8)
    holes[1::2, 1::2] = IGNORE
    holes[4, 5] = 1
    many = np.arange(200, dtype=np.uint8).repeat(3).reshape(20, 30)
    noise = rng.choice(np.array([0, 1, 2, IGNORE], np.uint8), (33, 47))
    return {
        "rings": (rings, 3),
        "chequered": (chequered, 2),
        "holes": (holes, 2),
        "all ignore": (np.full((5, 7), IGNORE, np.uint8), 2),
        "one class": (np.zeros((6, 4), np.uint8), 1),
        "one pixel": (np.ones((1, 1), np.uint8), 2),
        "one row": (np.array([[0, 0, IGNORE, 1, 0]], np.uint8), 2),
        "one column": (np.array([[0], [1], [IGNORE], [1]], np.uint8), 2),
        "200 classes": (many, 200),
        "noise": (noise, 3),
    }


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[LabelMap, int]:
    number = draw(st.sampled_from([1, 2, 3, 200]))
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    values = draw(st.lists(st.sampled_from([*range(min(number, 4)), number - 1, IGNORE]), min_size=1, max_size=5))
    seed, block = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 6))
    rng = np.random.default_rng(seed)
    small = rng.choice(np.array(values, np.uint8), (-(-height // block), -(-width // block)))
    return np.ascontiguousarray(small.repeat(block, 0).repeat(block, 1)[:height, :width]), number


def export(
    name: str, folder: Path, maps: dict[str, LabelMap], classes: ClassSet, *, ignore_class: bool = False
) -> Path:
    """Write image name -> map in a format; return what its reader takes."""
    writer_type = FORMATS[name].writer
    assert writer_type is not None
    writer = writer_type(ExportOptions(classes, ignore_class=ignore_class))
    files = []
    for image, labels in maps.items():
        pixels = np.zeros((*labels.shape, 3), np.uint8)
        files += writer.add(ExportItem(image, image.rpartition(".")[0], labels, encoded(pixels)))
    for file, data in [*files, *writer.finish()]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    single = {"coco": "annotations.json", "cvat": "annotations.xml", "label-studio": "tasks.json"}
    return folder / single.get(name, "")


def read(name: str, path: Path, options: ImportOptions | None = None) -> ForeignLabels:
    reader = FORMATS[name].reader
    assert reader is not None
    return reader(path, options or ImportOptions())


def in_classes(labels: LabelMap, names: tuple[str, ...], classes: ClassSet) -> LabelMap:
    """A map of positions in `names` as train ids of `classes`; the class "ignore" becomes ignore."""
    table = np.full(256, IGNORE, np.uint8)
    for index, name in enumerate(names):
        if name in classes.names:
            table[index] = classes.names.index(name)
    return table[labels]
