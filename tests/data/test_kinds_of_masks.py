"""Every kind of masks that users bring, as a small set of real files: read as numpy says, or refused with the remedy.

Each set shows the same scenes (`test_findings.scene`): sky above, then house and road, and a car on the road. A kind
that is neither read right nor refused would be misread, and fails here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from autolabel.classes import IGNORE
from autolabel.config.sources import FolderConfig
from autolabel.data.build import build
from autolabel.data.loaders import load_label
from autolabel.errors import DataError
from autolabel.formats.brush_rle import encode
from tests.data.image_files import encoded, noise_image, put
from tests.data.test_findings import HEIGHT, NAMES, NUMBER, WIDTH, scene
from tests.stages.tiny_pipeline import call

COLOURS = np.array([(70, 130, 180), (70, 70, 70), (128, 64, 128), (0, 0, 142)], np.uint8)
Map = np.ndarray


class Kind(NamedTuple):
    """`mask` makes the bytes of a mask file; `says` is the text of a refusal, None where the masks are read."""

    mask: Callable[[Map], bytes]
    classes: str = ""  # lines of the class file beside the names
    suffix: str = ".png"
    settings: Mapping[str, Any] = MappingProxyType({})  # of the data
    says: str | None = None
    names: tuple[str, ...] = NAMES
    expected: Callable[[Map], Map] = lambda scene: scene  # train ids of a scene


def png(change: Callable[[Map], Map]) -> Callable[[Map], bytes]:
    return lambda scene: encoded(change(scene))


def values(*ids: int) -> Callable[[Map], Map]:
    """The id of each class of the scenes."""
    table = np.array(ids, np.uint16 if max(ids) > 255 else np.uint8)
    return lambda scene: table[scene]


def palette(scene: Map, colours: Map = COLOURS, order: tuple[int, ...] = (0, 1, 2, 3)) -> bytes:
    image = Image.fromarray(np.array(order, np.uint8)[scene], "L")
    table = np.zeros((256, 3), np.uint8)
    table[list(order)] = colours
    image.putpalette(table.ravel().tolist())
    sink = BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def through(kind: str, **options: object) -> Callable[[Map], Map]:
    """The pixels after a lossy format."""

    def decoded(scene: Map) -> Map:
        return np.array(Image.open(BytesIO(encoded(scene * 60, kind, **options))).convert("L"))

    return decoded


def anti_aliased(scene: Map) -> Map:
    small = Image.fromarray(scene * 60).resize((23, 17), Image.Resampling.BILINEAR)
    return np.array(small.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))


def turned_by_exif(scene: Map) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = 3
    return encoded(scene, exif=tags)


def object_only(scene: Map) -> Map:
    return (scene == 3).astype(np.uint8)


PALETTE = f"palette = {COLOURS.tolist()}"
DATA_SET = {"names": ()}
KINDS = {
    "grey ids": Kind(png(values(0, 1, 2, 3))),
    "grey ids of one's own": Kind(png(values(7, 30, 2, 255)), "ids = [7, 30, 2, 255]\nignored_ids = []"),
    "palette, by index": Kind(palette, settings={"mask_values": "indices"}),
    "palette, by colour": Kind(
        lambda scene: palette(scene, order=(9, 3, 0, 200)), PALETTE, settings={"mask_values": "colours"}
    ),
    "palette for ids": Kind(palette, says=r"is a palette mask; set data\.mask_values"),
    "RGB": Kind(png(lambda scene: COLOURS[scene]), PALETTE, settings={"mask_values": "colours"}),
    "RGB for ids": Kind(png(lambda scene: COLOURS[scene]), says=r"is a colour mask; set data\.mask_values = .colours."),
    "BGR": Kind(
        png(lambda scene: np.ascontiguousarray(COLOURS[scene][..., ::-1])), PALETTE,
        settings={"mask_values": "colours"},
        says=r"values that no class has: colour \(142, 0, 0\), colour \(180, 130, 70\).*palette",
    ),
    "0 and 255, stated": Kind(
        png(lambda scene: object_only(scene) * 255), "ids = [0, 255]\nignored_ids = []",
        names=("background", "car"), expected=object_only,
    ),
    "0 and 255": Kind(
        png(lambda scene: object_only(scene) * 255), names=("background", "car"), says=r"write ids = \[0, 255\]"
    ),
    "16-bit PNG": Kind(png(values(0, 300, 2000, 65535)), "ids = [0, 300, 2000, 65535]\nignored_ids = []"),
    "instance ids": Kind(png(values(0, 1000, 2000, 3001)), says="values that no class has: id 1000.*write them into"),
    "TIFF": Kind(lambda scene: encoded(scene, "TIFF", compression="tiff_lzw"), suffix=".tif"),
    "16-bit TIFF": Kind(
        lambda scene: encoded(scene.astype(np.uint16) * 300, "TIFF"), "ids = [0, 300, 600, 900]", suffix=".tiff"
    ),
    "lossless WebP": Kind(lambda scene: encoded(np.dstack([scene] * 3), "WEBP", lossless=True), suffix=".webp"),
    "lossy WebP": Kind(
        lambda scene: encoded(np.dstack([scene * 60] * 3), "WEBP"), suffix=".webp", says="lossy.*export the masks"
    ),
    "AVIF": Kind(lambda scene: encoded(np.dstack([scene] * 3), "AVIF"), suffix=".avif", says="export the masks as PNG"),
    "ids from 1": Kind(png(values(1, 2, 3, 4)), says=r"write ids = \[1, 2, 3, 4\]"),
    "0 outside all classes": Kind(
        png(lambda scene: np.where(scene == 0, 0, scene + 1).astype(np.uint8)),
        says="0 may be the background.*write ids"
    ),
    "the first class never": Kind(
        png(values(1, 1, 2, 3)), says="the ids may count from 1, shifted by one"
    ),
    "JPEG": Kind(lambda scene: encoded(scene * 60, "JPEG"), suffix=".jpg", says="export the masks as PNG"),
    "JPEG saved again": Kind(
        png(through("JPEG", quality=80)), "ids = [0, 60, 120, 180]", says="smoothed, resized or saved with loss"
    ),
    "anti-aliased": Kind(png(anti_aliased), "ids = [0, 60, 120, 180]", says="nearest neighbour, PNG"),
    "EXIF of the mask alone": Kind(turned_by_exif, says=r"EXIF orientation 3.*data\.mask_orientation = .shown."),
    "EXIF, stated": Kind(
        turned_by_exif, settings={"mask_orientation": "shown"}, expected=lambda scene: scene[::-1, ::-1]
    ),
    "half the size": Kind(png(lambda scene: scene[::2, ::2]), says="another size than their image.*nearest neighbour"),
    "other aspect": Kind(png(lambda scene: scene[:, :-9]), says="another aspect ratio.*export them again"),
    "VOC, border 255": Kind(
        lambda scene: palette(np.where(scene == 1, 3, scene), COLOURS, (1, 2, 3, 255)), "ids = [1, 2, 3]",
        settings={"mask_values": "indices"}, names=("sky", "house", "road"),
        expected=lambda scene: np.where(np.isin(scene, (1, 3)), IGNORE, scene),
    ),
    "ADE20K": Kind(png(values(3, 2, 7, 21)), 'dataset = "ade20k"', **DATA_SET),
    "BDD100K": Kind(png(values(10, 2, 0, 13)), 'dataset = "bdd100k"', **DATA_SET),
    "IDD": Kind(png(values(25, 22, 0, 9)), 'dataset = "idd"', **DATA_SET),
    "KITTI": Kind(png(values(23, 11, 7, 26)), 'dataset = "kitti"', **DATA_SET),
    "train ids for the ids of Cityscapes": Kind(
        png(values(10, 2, 0, 13)), 'dataset = "kitti"', says="train ids", **DATA_SET
    ),
}  # fmt: skip
PUBLISHED = ("sky", "building", "road", "car")  # what sky, house, road and car of the scenes are called there


def folder(root: Path, kind: Kind) -> FolderConfig:
    names = f"names = {list(kind.names)}\n" if kind.names else ""
    put(root / "classes.toml", f"{names}{kind.classes}\n".encode())
    for number in range(NUMBER):
        put(root / f"images/{number}.png", encoded(noise_image(number, height=HEIGHT, width=WIDTH)))
        put(root / f"masks/{number}{kind.suffix}", kind.mask(scene(number)))
    return FolderConfig(source="folder", root=root, **kind.settings)


def read(config: FolderConfig, scratch: Path) -> tuple[tuple[str, ...], dict[str, Map]]:
    """The classes, and the train ids of each image as training reads them. Raises DataError."""
    made = build(config, write_many=lambda files: [put(scratch / n, x) for n, x in files], jobs=1, quiet=True).manifest
    roots = {"source": config.root, "data": scratch}
    return made.classes.names, {row.image_id: load_label(row, roots, made.classes) for row in made.labels}


@pytest.mark.parametrize("name", KINDS)
def test_masks(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    if kind.says is not None:
        with pytest.raises(DataError, match=kind.says):
            read(folder(tmp_path, kind), tmp_path / "scratch")
        return
    names, found = read(folder(tmp_path, kind), tmp_path / "scratch")
    assert len(found) == NUMBER
    published = np.array([*(names.index(each) for each in PUBLISHED if each in names), *[IGNORE] * 252])
    for number in range(NUMBER):
        expected = kind.expected(scene(number)) if kind.names else published[scene(number)]
        np.testing.assert_array_equal(found[str(number)], expected)


# Documents of tools: polygons of the scenes, whose corners lie between pixels.


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


DOCUMENTS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "COCO polygons": ("coco", coco(lambda name, mask: [np.ravel(corners(mask)).tolist()])),
    "COCO run lengths": ("coco", coco(lambda name, mask: {"size": [HEIGHT, WIDTH], "counts": runs(mask, "F")})),
    "labelme": ("labelme", labelme),
    "YOLO": ("yolo", yolo),
    "VOC export": ("voc", voc),
    "CVAT polygons": ("cvat", cvat(cvat_polygon)),
    "CVAT masks": ("cvat", cvat(cvat_mask)),
    "Label Studio polygons": ("label-studio", label_studio("polygonlabels", ls_polygon)),
    "Label Studio brush": ("label-studio", label_studio("brushlabels", ls_brush)),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(name: str, tmp_path: Path) -> None:
    format_, write = DOCUMENTS[name]
    for number in range(NUMBER):
        put(tmp_path / f"images/{number}.png", encoded(noise_image(number, height=HEIGHT, width=WIDTH)))
    out = tmp_path / "data"
    command = ("import", "labels", write(tmp_path), "--format", format_, "--images", tmp_path / "images", "--out", out)
    result = call(*command, "-q")
    assert result.exit_code == 0, result.output
    names, found = read(FolderConfig(source="folder", root=out), tmp_path / "scratch")
    order = np.array([names.index(each) for each in NAMES])
    assert len(found) == NUMBER
    for number in range(NUMBER):
        np.testing.assert_array_equal(found[str(number)], order[scene(number)])
