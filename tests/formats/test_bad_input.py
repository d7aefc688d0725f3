"""Files of other tools that are wrong or hostile end in one line with file, place and remedy; nothing is written."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from autolabel.cli.main import cli
from autolabel.formats.brush_rle import encode
from tests.data.image_files import encoded
from tests.formats.maps import classes_of, export

HEIGHT, WIDTH = 6, 8
LABELS = np.array([[0, 0, 1, 1, 255, 255, 2, 2]] * HEIGHT, np.uint8)
SQUARE = [[1, 1], [4, 1], [4, 4], [1, 4]]
BOW_TIE = [[0, 0], [8, 6], [8, 0], [0, 6]]


def put_images(folder: Path, *names: str) -> Path:
    for name in names or ("a.png",):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    return folder


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["import", "labels", *map(str, arguments), "-q"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stderr


def refused(tmp_path: Path, path: Path, name: str, *options: object) -> str:
    out = tmp_path / "out"
    images = tmp_path / "images"
    code, stderr = run(path, "--format", name, "--images", put_images(images), "--out", out, *options)
    assert code == 3, stderr
    (line,) = stderr.splitlines()
    assert line.startswith("autolabel: ")
    assert "; " in line, "a remedy"
    assert not out.exists()
    assert not list(tmp_path.glob(".tmp*"))
    return line


def coco(**changes: Any) -> dict[str, Any]:
    row = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [np.ravel(SQUARE).tolist()]}
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [row],
    }
    row.update({key: value for key, value in changes.items() if key in row})
    return document | {key: value for key, value in changes.items() if key in document}


def rle(counts: object, size: object = (HEIGHT, WIDTH)) -> dict[str, object]:
    return {"size": list(size) if isinstance(size, tuple) else size, "counts": counts}


COCO: dict[str, tuple[dict[str, Any], str]] = {
    "no lists": ({}, "has no 'categories'"),
    "unknown image": (coco(image_id=7), "annotations[0]: belongs to image id 7"),
    "unknown class": (coco(category_id=7), "annotations[0]: category id 7 is not listed"),
    "image twice": (coco(images=[{"id": 1, "file_name": "a.png"}] * 2), "image id 1 occurs twice"),
    "two claim one": (
        coco(images=[{"id": n, "file_name": "a.png"} for n in (1, 2)]),
        "claims the image 'a.png', as does",
    ),
    "missing image": (coco(images=[{"id": 1, "file_name": "b.png"}]), "images that are not there: 1"),
    "other size": (
        coco(images=[{"id": 1, "file_name": "a.png", "height": 8, "width": 6}]),
        "states 6 x 8, the image 'a.png' is 8 x 6",
    ),
    "class twice": (coco(categories=[{"id": n, "name": "car"} for n in (1, 2)]), "names the class 'car' twice"),
    "class without a name": (coco(categories=[{"id": 1}]), "categories[0]: has no 'name'"),
    "300 classes": (coco(categories=[{"id": n, "name": str(n)} for n in range(300)]), "has 300 classes"),
    "no segmentation": (coco(segmentation=[]), "annotations[0]: has no segmentation"),
    "box alone": (coco(segmentation=None), "annotations[0]: has no segmentation"),
    "empty polygon": (coco(segmentation=[[]]), "annotations[0]: a polygon has 0 points"),
    "two points": (coco(segmentation=[[1, 1, 2, 2]]), "annotations[0]: a polygon has 2 points"),
    "odd number": (coco(segmentation=[[1, 1, 2, 2, 3]]), "annotations[0]: the points are no list"),
    "no number": (coco(segmentation=[[1, 1, 2, 2, 3, float("nan")]]), "annotations[0]: the points are no list"),
    "text": (coco(segmentation=[["1", "x", "2", "2", "3", "3"]]), "annotations[0]: the points are no list"),
    "infinite": (coco(segmentation=[[1, 1, 2, 2, 1e300, 3]]), "a coordinate that is no pixel"),
    "outside": (coco(segmentation=[[90, 90, 99, 90, 99, 99]]), "a polygon lies outside its image"),
    "crosses itself": (coco(segmentation=[np.ravel(BOW_TIE).tolist()]), "a polygon crosses itself"),
    "rle of another size": (coco(segmentation=rle("0X", (9, 9))), "run lengths of size [9, 9]"),
    "rle too short": (coco(segmentation=rle([3, 4])), "run lengths cover 7 pixels, the region has 48"),
    "rle too long": (coco(segmentation=rle([40, 4000])), "run lengths cover 4040 pixels"),
    "negative rle": (coco(segmentation=rle([50, -2])), "no list of whole numbers"),
    "rle bomb": (coco(segmentation=rle([0, 2**39])), "run lengths cover"),
    "rle text": (coco(segmentation=rle("o" * 30)), "are no COCO run lengths"),
    "rle huge number": (coco(segmentation=rle("o" * 30 + "0")), "a run length is too large"),
    "rle of other letters": (coco(segmentation=rle("äö")), "are no COCO run lengths"),
    "rle of nothing": (coco(segmentation=rle("")), "are no COCO run lengths"),
    "rle without counts": (coco(segmentation=rle(None)), "no list of whole numbers"),
    "size is text": (coco(segmentation=rle("0X", ("6", "8"))), "run lengths of size"),
    "category id is a list": (coco(category_id=[1]), "[1] is no whole number"),
}


@pytest.mark.parametrize("case", COCO)
def test_coco(case: str, tmp_path: Path) -> None:
    document, message = COCO[case]
    file = tmp_path / "a.json"
    file.write_text(json.dumps(document))
    assert message in refused(tmp_path, file, "coco")


TEXTS: dict[str, tuple[bytes, str]] = {
    "truncated": (json.dumps(coco()).encode()[:-20], "is not valid JSON"),
    "deep": (b"[" * 100_000, "is not valid JSON"),
    "latin-1": ('{"a": "ß"}'.encode("latin-1"), "is not UTF-8 text"),
    "huge number": (b"[" + b"9" * 5000 + b"]", "is not valid JSON"),
    "empty": (b"", "is not valid JSON"),
    "list": (b"[]", ""),
    "number": (b"7", ""),
}


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("name", ["coco", "labelme", "label-studio"])
def test_text_that_is_no_document(name: str, case: str, tmp_path: Path) -> None:
    data, message = TEXTS[case]
    (tmp_path / "a.json").write_bytes(data)
    assert message in refused(tmp_path, tmp_path / "a.json", name)


def cvat(shape: str = "", image: str = 'name="a.png" width="8" height="6"', labels: str = "car") -> bytes:
    head = f"<annotations><meta><task><labels><label><name>{labels}</name></label></labels></task></meta>"
    return f'{head}<image id="0" {image}>{shape}</image></annotations>'.encode()


CVAT: dict[str, tuple[bytes, str]] = {
    "truncated": (cvat()[:-15], "is not valid XML"),
    "entities": (b'<!DOCTYPE a [<!ENTITY b "c">]>' + cvat(), "a document type is declared"),
    "other root": (b"<html></html>", "is no file of CVAT"),
    "video": (b"<annotations><track/></annotations>", "tracks of a video"),
    "unknown label": (cvat('<box label="x" xtl="1" ytl="1" xbr="3" ybr="3"/>'), "label 'x' is not listed"),
    "no size": (cvat(image='name="a.png"'), "None is no whole number"),
    "other size": (cvat(image='name="a.png" width="9" height="6"'), "states 9 x 6"),
    "points": (cvat('<polygon label="car" points="1,1;2"/>'), "the points are no list"),
    "two points": (cvat('<polygon label="car" points="1,1;2,2"/>'), "a polygon has 2 points"),
    "rle": (cvat('<mask label="car" rle="1, x" left="0" top="0" width="2" height="2"/>'), "the rle is no list"),
    "rle bomb": (
        cvat('<mask label="car" rle="0, 99999999999" left="0" top="0" width="8" height="6"/>'),
        "run lengths cover 99999999999 pixels",
    ),
    "outside": (cvat('<mask label="car" rle="0, 9" left="6" top="0" width="3" height="3"/>'), "does not lie in its"),
    "huge box": (
        cvat('<mask label="car" rle="0, 9" left="0" top="0" width="99999999" height="99999999"/>'),
        "does not lie in its image",
    ),
    "encoding": (b'<?xml version="1.0" encoding="nope"?>' + cvat(), "is not valid XML"),
}


@pytest.mark.parametrize("case", CVAT)
def test_cvat(case: str, tmp_path: Path) -> None:
    data, message = CVAT[case]
    (tmp_path / "annotations.xml").write_bytes(data)
    assert message in refused(tmp_path, tmp_path / "annotations.xml", "cvat")


def studio(value: object, type_: str = "brushlabels", **changes: object) -> list[dict[str, Any]]:
    region = {"type": type_, "original_width": WIDTH, "original_height": HEIGHT, "value": value}
    return [{"data": {"image": "a.png"}, "annotations": [{"result": [region | changes]}]}]


def brush(rle: object) -> dict[str, object]:
    return {"format": "rle", "rle": rle, "brushlabels": ["car"]}


RLE = encode(np.array([3, HEIGHT * WIDTH - 3]))
STUDIO: dict[str, tuple[object, str]] = {
    "two annotations": ([studio(brush(RLE))[0] | {"annotations": [{"result": []}] * 2}], "has 2 annotations"),
    "no image": ([{"data": {}, "annotations": []}], "has no 'image'"),
    "cut short": (studio(brush(RLE[:-3])), "the rle is cut short"),
    "of another size": (studio(brush(encode(np.array([3, 9])))), "the rle holds 12 pixels, the image has 48"),
    "no bytes": (studio(brush([1, 2, 999])), "the rle is no list of bytes"),
    "a number": (studio(brush(10**12)), "the rle is no list of bytes"),
    "text": (studio(brush("abc")), "the rle is no list of bytes"),
    "bomb": (studio(brush([255] * 40)), "the rle holds"),
    "two labels": (studio({**brush(RLE), "brushlabels": ["a", "b"]}), "needs exactly one label"),
    "points": (studio({"points": [[1, 2, 3]], "polygonlabels": ["a"]}, "polygonlabels"), "the points are no list"),
    "rotated": (
        studio({"x": 1, "y": 1, "width": 9, "height": 9, "rotation": 5, "rectanglelabels": ["a"]}, "rectanglelabels"),
        "is rotated",
    ),
    "other size": (studio(brush(RLE), original_width=9), "states 9 x 6"),
}


@pytest.mark.parametrize("case", STUDIO)
def test_label_studio(case: str, tmp_path: Path) -> None:
    document, message = STUDIO[case]
    (tmp_path / "tasks.json").write_text(json.dumps(document))
    assert message in refused(tmp_path, tmp_path / "tasks.json", "label-studio")


def labelme(**shape: object) -> dict[str, object]:
    return {"imagePath": "a.png", "shapes": [{"label": "car", "points": SQUARE, "shape_type": "polygon", **shape}]}


PNG = base64.b64encode(encoded(np.full((9, 9), 255, np.uint8))).decode()
LABELME: dict[str, tuple[object, str]] = {
    "mask is no text": (labelme(shape_type="mask", mask=7), "is 7, not of type str"),
    "mask is no base64": (labelme(shape_type="mask", mask="%%%"), "the mask is no base64 text"),
    "mask is no png": (labelme(shape_type="mask", mask="AAAA"), "the mask is no PNG"),
    "mask outside": (labelme(shape_type="mask", mask=PNG), "the mask does not lie in its image"),
    "circle": (labelme(shape_type="circle"), "has 4 points instead of 2"),
    "shape is a list": ({"imagePath": "a.png", "shapes": [[]]}, "is no object"),
    "no path": ({"shapes": []}, "has no 'imagePath'"),
    "label is a number": (labelme(label=7), "is 7, not of type str"),
}


@pytest.mark.parametrize("case", LABELME)
def test_labelme(case: str, tmp_path: Path) -> None:
    document, message = LABELME[case]
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert message in refused(tmp_path, tmp_path / "a.json", "labelme")


YOLO = {
    "other class": ("9 0 0 1 0 1 1", "class '9' is none of 0 to 2"),
    "no class": ("car 0 0 1 0 1 1", "class 'car' is none of 0 to 2"),
    "box": ("0 0.5 0.5 0.1 0.1", "line 1: is a box"),
    "pixels": ("0 0 0 7 0 7 5", "no fractions of the image"),
    "odd": ("0 0 0 1 0 1", "the points are no list"),
    "text": ("0 0 0 1 0 1 x", "the points are no list"),
}


@pytest.mark.parametrize("case", YOLO)
def test_yolo(case: str, tmp_path: Path) -> None:
    line, message = YOLO[case]
    path = export("yolo", tmp_path / "yolo", {"a.png": LABELS}, classes_of(3))
    (path / "labels" / "train" / "a.txt").write_text(line)
    assert message in refused(tmp_path, path, "yolo")


def damage(file: str, data: bytes | Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        path.write_bytes(data if isinstance(data, bytes) else data(path.read_bytes()))

    return change


FOLDERS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "mmseg id": ("mmseg", damage("ann_dir/train/a.png", encoded(np.full((6, 8), 9, np.uint8))), "id 9 (first at row 0"),
    "mmseg size": ("mmseg", damage("ann_dir/train/a.png", encoded(np.zeros((8, 6), np.uint8))), "its image is 8 x 6"),
    "mmseg rgb": ("mmseg", damage("ann_dir/train/a.png", encoded(np.zeros((6, 8, 3), np.uint8))), "8-bit RGB PNG"),
    "mmseg cut": ("mmseg", damage("ann_dir/train/a.png", lambda data: data[:-20]), "cannot be decoded"),
    "mmseg meta": ("mmseg", damage("metainfo.json", b"{}"), "has no 'classes'"),
    "voc colour": (
        "voc",
        damage("SegmentationClass/a.png", encoded(np.full((6, 8, 3), 77, np.uint8))),
        "labelmap.txt does not list: (77, 77, 77)",
    ),
    "voc labelmap": ("voc", damage("labelmap.txt", b"car:1,2::\n"), "labelmap.txt: line 1: '1,2' is no colour"),
    "voc colour twice": ("voc", damage("labelmap.txt", b"a:1,2,3::\nb:1,2,3::\n"), "colour 66051 occurs twice"),
    "yolo names": ("yolo", damage("data.yaml", b"nc: 3\n"), "has no entry 'names'"),
    "hf": ("hf", damage("data/train-00000.parquet", b"PAR1"), "is no parquet file"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders(case: str, tmp_path: Path) -> None:
    name, change, message = FOLDERS[case]
    path = export(name, tmp_path / name, {"a.png": LABELS}, classes_of(3))
    change(tmp_path / name)
    assert message in refused(tmp_path, path, name)


@pytest.mark.parametrize("name", ["mmseg", "voc", "yolo", "hf", "labelme", "mask"])
def test_an_empty_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "c.toml").write_text('names = ["a"]')
    assert refused(tmp_path, tmp_path / "empty", name, "--classes", tmp_path / "c.toml")


def test_many_covers_end_soon(tmp_path: Path) -> None:
    rows = [{"id": n, "image_id": 1, "category_id": 1, "segmentation": rle([0, 48])} for n in range(100_000)]
    document = coco(annotations=rows)
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert "cover the image more than 64 times" in refused(tmp_path, tmp_path / "a.json", "coco")


def test_many_problems_are_a_list_with_counts(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(9)]
    document = coco(
        images=[{"id": n, "file_name": name} for n, name in enumerate(names)],
        annotations=[
            {"id": n, "image_id": n, "category_id": 1 + n % 2, "segmentation": [[0, 0, 4, 0, 4, 4]]} for n in range(9)
        ],
    )
    (tmp_path / "a.json").write_text(json.dumps(document))
    put_images(tmp_path / "images", *names)
    line = refused(tmp_path, tmp_path / "a.json", "coco")
    assert "images with bad annotations: 4" in line
    assert "and 1 more" in line
    out = tmp_path / "out"
    code, stderr = run(
        tmp_path / "a.json", "--format", "coco", "--images", tmp_path / "images", "--out", out, "--max-bad", 4
    )
    assert code == 0
    assert len(stderr.splitlines()) == 4
    assert len(list((out / "masks").glob("*.png"))) == 5
    assert len(list((out / "images").glob("*.png"))) == 10
