"""A label set on disk as `cut` and `predict` write them, and images for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autolabel.classes import CLASS_SETS, IGNORE, ClassSet
from autolabel.classes.files import default_palette
from autolabel.labels import png
from autolabel.labels.label_set import LabelIds, LabelSummary, Statement, describe
from tests.data.image_files import encoded
from tests.formats.maps import LabelMap


def small_maps(number: int) -> dict[str, LabelMap]:
    """Image id -> map."""
    rng = np.random.default_rng(7)
    values = np.array([*range(number), IGNORE], np.uint8)
    names = ("front cam/straße", "front cam/b", "rear/b")
    return {name: rng.choice(values, (10 + index, 16)) for index, name in enumerate(names)}


def write_label_set(
    folder: Path, names: tuple[str, ...], maps: dict[str, LabelMap] | None = None, label_ids: LabelIds = "train"
) -> Path:
    count = len(names)
    known = CLASS_SETS["cityscapes"]
    ids = tuple(known.ids[known.names.index(n)] if n in known.names else i for i, n in enumerate(names))
    classes = ClassSet("x", names, default_palette(count), ids, (IGNORE,))
    statement = Statement(classes, label_ids)
    maps = small_maps(count) if maps is None else maps
    rows = []
    for name, labels in maps.items():
        counts = np.bincount(labels.ravel(), minlength=256)
        rows.append(LabelSummary(name, f"{name}.png", [*counts[:count].tolist(), int(counts[IGNORE])], 0.75))
        put(folder / "labels" / f"{name}.png", png.encode(statement.values()[labels]))
    for name, data in describe(statement, rows).items():
        put(folder / name, data)
    return folder


def images_of(label_set: Path, folder: Path, suffix: str = ".png") -> Path:
    for path in (label_set / "labels").rglob("*.png"):
        pixels = np.zeros((*png.decode(path.read_bytes()).shape, 3), np.uint8)
        target = (folder / path.relative_to(label_set / "labels")).with_suffix(suffix)
        put(target, encoded(pixels, "JPEG" if suffix == ".jpg" else "PNG"))
    return folder


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
