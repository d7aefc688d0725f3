"""Documents and layouts of other tools, of the scenes of `test_kinds_of_masks`: imported, then read as numpy says."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autolabel.config.sources import FolderConfig
from autolabel.errors import DataError
from autolabel.formats.brush_rle import encode
from tests.data.image_files import encoded, noise_image, put
from tests.data.test_findings import HEIGHT, NAMES, NUMBER, WIDTH, scene
from tests.data.test_kinds_of_masks import COLOURS, Map, palette, read, values
from tests.stages.tiny_pipeline import call


def indexed(map_: Map) -> bytes:
    """A palette PNG whose indices are the values."""
    image = Image.fromarray(map_, "L")
    image.putpalette([(7 * k) % 256 for k in range(768)])
    sink = BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def corners(mask: Map) -> list[tuple[int, int]]:
    """(x, y) of the rectangle that a region of the scene fills."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    (top, bottom), (left, right) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    return [(int(x), int(y)) for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))]


def regions(number: int) -> list[tuple[str, Map]]:
    """The car last; the road's rectangle includes it, so that the order of overlapping regions shows."""
    map_ = scene(number)
    return [(name, map_ >= 2 if name == "road" else map_ == k) for k, name in enumerate(NAMES)]


def shapes(number: int) -> list[tuple[str, list[tuple[int, int]]]]:
    return [(name, corners(mask)) for name, mask in regions(number)]


def runs(mask: Map, order: str) -> list[int]:
    """Lengths of runs, background first, in rows ("C") or columns ("F")."""
    flat = mask.ravel(order=order).astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return np.diff(np.concatenate([[0], edges])).tolist()


def coco(segmentation: Callable[[str, Map], object]) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        rows = [
            {"image_id": number, "category_id": 10 + NAMES.index(name), "segmentation": segmentation(name, mask),
             "area": int(mask.sum()), "iscrowd": 0}
            for number in range(NUMBER) for name, mask in regions(number)
        ]  # fmt: skip
        document = {
            "images": [{"id": n, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for n in range(NUMBER)],
            "categories": [{"id": 10 + k, "name": name} for k, name in enumerate(NAMES)],
            "annotations": [{"id": k, **row} for k, row in enumerate(rows)],
        }
        return put(root / "coco.json", json.dumps(document).encode())

    return write


def labelme(root: Path) -> Path:
    for number in range(NUMBER):
        rows = [{"label": name, "points": points, "shape_type": "polygon"} for name, points in shapes(number)]
        head = {"imagePath": f"{number}.png", "imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None}
        put(root / f"labelme/{number}.json", json.dumps({"version": "5.5.0", **head, "shapes": rows}).encode())
    return root / "labelme"


def yolo(root: Path) -> Path:
    put(root / "yolo/data.yaml", "".join(["names:\n", *(f"  {k}: {n}\n" for k, n in enumerate(NAMES))]).encode())
    for number in range(NUMBER):
        lines = [
            " ".join([str(NAMES.index(name)), *(f"{x / WIDTH:.8f} {y / HEIGHT:.8f}" for x, y in points)])
            for name, points in shapes(number)
        ]
        put(root / f"yolo/labels/{number}.txt", "\n".join(lines).encode())
    return root / "yolo"


def voc(root: Path) -> Path:
    put(
        root / "voc/labelmap.txt",
        "".join(f"{n}:{r},{g},{b}::\n" for n, (r, g, b) in zip(NAMES, COLOURS, strict=True)).encode(),
    )
    for number in range(NUMBER):
        put(root / f"voc/SegmentationClass/{number}.png", palette(scene(number), order=(7, 1, 5, 2)))
    return root / "voc"


def cvat(shape: Callable[[str, Map], str]) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        images = "".join(
            f'<image id="{n}" name="{n}.png" width="{WIDTH}" height="{HEIGHT}">'
            + "".join(shape(name, mask) for name, mask in regions(n)) + "</image>"
            for n in range(NUMBER)
        )  # fmt: skip
        labels = "".join(f"<label><name>{name}</name></label>" for name in NAMES)
        head = f"<version>1.1</version><meta><task><labels>{labels}</labels></task></meta>"
        return put(root / "cvat.xml", f"<annotations>{head}{images}</annotations>".encode())

    return write


def cvat_polygon(name: str, mask: Map) -> str:
    points = ";".join(f"{x}.00,{y}.00" for x, y in corners(mask))
    return f'<polygon label="{name}" occluded="0" points="{points}" z_order="{NAMES.index(name)}"/>'


def cvat_mask(name: str, mask: Map) -> str:
    (left, top), _, (right, bottom), _ = corners(mask)
    counts = ", ".join(map(str, runs(mask[top:bottom, left:right], "C")))
    box = f'left="{left}" top="{top}" width="{right - left}" height="{bottom - top}"'
    return f'<mask label="{name}" occluded="0" rle="{counts}" {box} z_order="{NAMES.index(name)}"/>'


def label_studio(kind: str, value: Callable[[str, Map], dict[str, Any]]) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
        tasks = [
            {
                "id": number,
                "data": {"image": f"/data/upload/1/{number}.png"},
                "annotations": [{"id": number, "result": [
                    {"type": kind, "from_name": "label", "to_name": "image", **size, "value": value(name, mask)}
                    for name, mask in regions(number)
                ]}],
            }
            for number in range(NUMBER)
        ]  # fmt: skip
        return put(root / "tasks.json", json.dumps(tasks).encode())

    return write


def ls_polygon(name: str, mask: Map) -> dict[str, Any]:
    points = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in corners(mask)]
    return {"points": points, "closed": True, "polygonlabels": [name]}


def ls_brush(name: str, mask: Map) -> dict[str, Any]:
    return {"format": "rle", "rle": encode(np.array(runs(mask, "C"))), "brushlabels": [name]}


def mmseg(root: Path) -> Path:
    put(root / "mmseg/metainfo.json", json.dumps({"classes": NAMES, "palette": COLOURS.tolist()}).encode())
    for number in range(NUMBER):
        put(root / f"mmseg/ann_dir/{'val' if number == 0 else 'train'}/{number}.png", encoded(scene(number)))
    return root / "mmseg"


def parquet(column: str, mask: Callable[[Map], bytes]) -> Callable[[Path], Path]:
    """Rows as `datasets` stores them: images as files inside, without class names."""

    def write(root: Path) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        put(root / "classes.toml", f"names = {list(NAMES)}\nids = [10, 11, 12, 13]\n".encode())
        rows = [
            {"image": {"bytes": encoded(noise_image(number, height=HEIGHT, width=WIDTH)), "path": f"{number}.png"},
             column: {"bytes": mask(scene(number) + 10), "path": None}}
            for number in range(NUMBER)
        ]  # fmt: skip
        (root / "hub/data").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), root / "hub/data/train-00000-of-00001.parquet", row_group_size=2)
        return root / "hub"

    return write


def masks(root: Path) -> Path:
    put(root / "classes.toml", f"names = {list(NAMES)}\nids = [7, 30, 2, 200]\n".encode())
    for number in range(NUMBER):
        put(root / f"ids/{number}.png", encoded(values(7, 30, 2, 200)(scene(number))))
    return root / "ids"


DOCUMENTS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "COCO polygons": ("coco", coco(lambda name, mask: [np.ravel(corners(mask)).tolist()])),
    "COCO run lengths": ("coco", coco(lambda name, mask: {"size": [HEIGHT, WIDTH], "counts": runs(mask, "F")})),
    "labelme": ("labelme", labelme),
    "YOLO": ("yolo", yolo),
    "VOC export": ("voc", voc),
    "mmseg": ("mmseg", mmseg),
    "Hugging Face": ("hf", parquet("mask", encoded)),
    "Hugging Face, palettes": ("hf", parquet("annotation", lambda map_: indexed(map_))),
    "Hugging Face, column label": ("hf", parquet("label", encoded)),
    "masks of ids": ("mask", masks),
    "CVAT polygons": ("cvat", cvat(cvat_polygon)),
    "CVAT masks": ("cvat", cvat(cvat_mask)),
    "Label Studio polygons": ("label-studio", label_studio("polygonlabels", ls_polygon)),
    "Label Studio brush": ("label-studio", label_studio("brushlabels", ls_brush)),
}


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("masks/0.json", r"1 file\(s\) in masks/ .*\.json is not read: 0\.json; turn .*: autolabel import labels"),
        ("labels/0.txt", "masks: no such folder; put the masks there .* `autolabel import labels` makes masks"),
    ],
)
def test_documents_in_the_place_of_masks(file: str, says: str, tmp_path: Path) -> None:
    put(tmp_path / "classes.toml", f"names = {list(NAMES)}".encode())
    put(tmp_path / "images/0.png", encoded(noise_image(0, height=HEIGHT, width=WIDTH)))
    put(tmp_path / file, b"0 0.1 0.1 0.9 0.1 0.9 0.9")
    with pytest.raises(DataError, match=says):
        read(FolderConfig(source="folder", root=tmp_path), tmp_path / "scratch")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(name: str, tmp_path: Path) -> None:
    format_, write = DOCUMENTS[name]
    for number in range(NUMBER):
        put(tmp_path / f"images/{number}.png", encoded(noise_image(number, height=HEIGHT, width=WIDTH)))
    out = tmp_path / "data"
    command = ("import", "labels", write(tmp_path), "--format", format_, "--images", tmp_path / "images", "--out", out)
    classes = ("--classes", tmp_path / "classes.toml") if (tmp_path / "classes.toml").is_file() else ()
    result = call(*command, "-q", *classes)
    assert result.exit_code == 0, result.output
    names, found = read(FolderConfig(source="folder", root=out), tmp_path / "scratch")
    order = np.array([names.index(each) for each in NAMES])
    assert len(found) == NUMBER
    for number in range(NUMBER):
        np.testing.assert_array_equal(found[str(number)], order[scene(number)])
