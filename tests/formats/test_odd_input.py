"""Files of other tools as users really have them: odd, but one reading is right, or a line says why there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from autolabel.cli.main import cli
from autolabel.errors import DataError
from autolabel.formats import yolo
from autolabel.formats.base import ImportOptions
from tests.formats.test_bad_input import HEIGHT, SQUARE, WIDTH, coco, cvat, put_images, refused, run

PERCENT = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in SQUARE]
DRAWN = np.full((HEIGHT, WIDTH), 255, np.uint8)
DRAWN[1:4, 1:4] = 0


def imported(tmp_path: Path, path: Path, name: str, *images: str, options: tuple[object, ...] = ()) -> Path:
    """The folder `out` of an import that must succeed."""
    out = tmp_path / "out"
    folder = put_images(tmp_path / "images", *images)
    code, stderr = run(path, "--format", name, "--images", folder, "--out", out, *options)
    assert (code, stderr) == (0, "")
    return out


def mask(file: Path) -> np.ndarray:
    return np.array(Image.open(file))


def tasks(tmp_path: Path, image: str, **region: object) -> Path:
    value = {"points": PERCENT, "polygonlabels": ["car"]}
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    row = {"type": "polygonlabels", "value": value, **size, **region}
    file = tmp_path / "tasks.json"
    file.write_text(json.dumps([{"data": {"image": image}, "annotations": [{"result": [row]}]}]))
    return file


@pytest.mark.parametrize(
    ("address", "image"),
    [
        ("/data/upload/1/1a2b3c4d-a.png", "a.png"),
        ("/data/upload/1/1a2b3c4d-front_cam_1.png", "front cam (1).png"),
        ("/data/upload/1/1a2b3c4d-stra%C3%9Fe.png", "deep/straße.png"),
        ("/data/local-files/?d=some%5Cimages%5Ca.png", "a.png"),
        ("s3://bucket/images/a.png", "a.png"),
    ],
)
def test_names_that_label_studio_gives(address: str, image: str, tmp_path: Path) -> None:
    out = imported(tmp_path, tasks(tmp_path, address), "label-studio", image, "other.png")
    np.testing.assert_array_equal(mask(out / "masks" / image), DRAWN)


@pytest.mark.parametrize("name", ["training-a.png", "1a2b3c4-a.png", "1A2B3C4D-a.png"])
def test_only_the_prefix_of_an_upload_is_dropped(name: str, tmp_path: Path) -> None:
    """Eight letters and a dash may be a name: `training-a.png` is not `a.png`."""
    file = tmp_path / "a.json"
    file.write_text(json.dumps(coco(images=[{"id": 1, "file_name": name}])))
    assert f"images that are not there: 1: {file}: image id 1: {name!r}" in refused(tmp_path, file, "coco")


def test_two_images_that_an_upload_names_alike(tmp_path: Path) -> None:
    put_images(tmp_path / "images", "a b.png", "a_b.png", "x/c d.png", "y/c d.png")
    out = imported(tmp_path, tasks(tmp_path, "1a2b3c4d-a_b.png"), "label-studio")
    assert (mask(out / "masks/a_b.png") == DRAWN).all()
    (tmp_path / "second").mkdir()
    put_images(tmp_path / "second/images", "x/c d.png", "y/c d.png")
    said = refused(tmp_path / "second", tasks(tmp_path, "1a2b3c4d-c_d.png"), "label-studio")
    assert "fits 2 images" in said


def test_an_image_that_was_turned_in_label_studio(tmp_path: Path) -> None:
    said = refused(tmp_path, tasks(tmp_path, "a.png", image_rotation=90), "label-studio")
    assert "region 0: is drawn on an image turned by 90 degrees; turn the image back" in said


RING, WHOLE = np.ravel(SQUARE).tolist(), [0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]
COUNTS = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT + 1, 3, 3, 3, 3, 3, HEIGHT * WIDTH - HEIGHT - 16]}


@pytest.mark.parametrize("area", [{}, {"area": 0}, {"area": None}, {"area": "9"}])
@pytest.mark.parametrize("small", [[RING], RING, COUNTS])
def test_smaller_regions_lie_on_top_where_no_area_is_stated(small: object, area: dict, tmp_path: Path) -> None:
    """The small region is first in the file: drawn in that order, it would be hidden."""
    rows = [(1, small), (2, [WHOLE])]
    document = coco(
        categories=[{"id": 1, "name": "car"}, {"id": 2, "name": "road"}],
        annotations=[{"image_id": 1, "category_id": k, "segmentation": shape, **area} for k, shape in rows],
    )
    file = tmp_path / "a.json"
    file.write_text(json.dumps(document))
    out = imported(tmp_path, file, "coco")
    np.testing.assert_array_equal(mask(out / "masks/a.png"), np.where(DRAWN == 0, 0, 1))


def labelme(folder: Path, *shapes: dict[str, Any]) -> Path:
    rows = [{"label": "car", "points": SQUARE, "shape_type": "polygon", **shape} for shape in shapes]
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps({"imagePath": "a.png", "imageData": None, "shapes": rows}))
    return folder


def test_two_spellings_of_a_class(tmp_path: Path) -> None:
    path = labelme(tmp_path / "x", {"label": "Traffic Light"}, {"label": "traffic  light "})
    said = refused(tmp_path, path, "labelme")
    assert "'Traffic Light' and 'traffic  light ' differ only in case or spaces" in said
    assert said.endswith("--map 'traffic  light =Traffic Light'")
    out = imported(tmp_path, path, "labelme", options=("--map", "traffic  light =Traffic Light"))
    assert 'names = ["Traffic Light"]' in (out / "classes.toml").read_text()
    assert (mask(out / "masks/a.png") == DRAWN).all()


@pytest.mark.parametrize("form", [None, ""])
def test_shapes_of_old_labelme_are_polygons(form: object, tmp_path: Path) -> None:
    out = imported(tmp_path, labelme(tmp_path / "x", {"shape_type": form}), "labelme")
    assert (mask(out / "masks/a.png") == DRAWN).all()


@pytest.mark.parametrize("shape", [{}, {"shape_type": "mask", "mask": ""}, {"shape_type": "circle"}])
def test_a_point_without_coordinates(shape: dict[str, Any], tmp_path: Path) -> None:
    said = refused(tmp_path, labelme(tmp_path / "x", {**shape, "points": [[]]}), "labelme")
    assert "the points are no list of numbers x and y" in said


def test_what_was_left_out_is_named_where_nothing_else_is_there(tmp_path: Path) -> None:
    said = refused(tmp_path, labelme(tmp_path / "x", {"shape_type": "line"}, {"shape_type": "blob"}), "labelme")
    assert "has no class, only 1 of type 'line', only 1 of type 'blob'" in said


TINY = [[1.0, 1.0], [1.2, 1.0], [1.2, 1.2]]
EMPTY = {"coco": "empty masks", "labelme": "polygons smaller than a pixel"}


@pytest.mark.parametrize("name", EMPTY)
def test_regions_without_a_pixel_are_counted(name: str, tmp_path: Path) -> None:
    images = put_images(tmp_path / "images")
    if name == "labelme":
        path = labelme(tmp_path / "x", {}, {"points": TINY}, {"points": [[1, 1], [2, 2], [3, 3]]})
    else:
        path = tmp_path / "a.json"
        nothing = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}
        rows = [{"image_id": 1, "category_id": 1, "segmentation": shape} for shape in ([RING], nothing, nothing)]
        path.write_text(json.dumps(coco(annotations=rows)))
    arguments = ("import", "labels", path, "--format", name, "--images", images, "--out", tmp_path / "out", "-q")
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert f"left out: 2 {EMPTY[name]}\n" in result.stdout
    assert (mask(tmp_path / "out/masks/a.png") == DRAWN).all()


def test_an_order_that_is_no_number(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    file.write_bytes(cvat('<box label="car" xtl="1" ytl="1" xbr="3" ybr="3" z_order="top"/>'))
    assert "z_order: 'top' is no whole number" in refused(tmp_path, file, "cvat")


NAMES_IN_YAML = (
    """names: ['car, truck', road, "it's #1", 'x ''y''']  # four""",
    """names: ["car, truck", road, "it's #1", "x 'y'", ]""",
    """names:\n  0: 'car, truck'  # two\n  1: road # one\n  2: "it's #1" # x\n  3: 'x ''y'''""",
    """names:\n- "car, truck"\n- road\n- 'it''s #1'\n- x 'y'""",
)


@pytest.mark.parametrize("names", NAMES_IN_YAML)
def test_names_of_yolo_are_those_of_yaml(names: str, tmp_path: Path) -> None:
    """A comma within quotation marks parts no names: the classes after it would get the numbers of others."""
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").write_text(f"path: .\n{names}\nnc: 4\n")
    assert tuple(yolo.read(tmp_path, ImportOptions()).names) == ("car, truck", "road", "it's #1", "x 'y'")


@pytest.mark.parametrize("names", ["[a, 'b]", "[a b: [c]]", "[{0: a}]", "['a' b, c]", "[,a]", "[]", "[a,,b]", "{0: a}"])
def test_names_of_yolo_that_are_not_understood(names: str, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").write_text(f"names: {names}\n")
    with pytest.raises(DataError, match="not understood"):
        yolo.read(tmp_path, ImportOptions())


def test_the_list_of_names_that_labelimg_puts_beside_labels(tmp_path: Path) -> None:
    ring = " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in SQUARE)
    for name, text in {"data.yaml": "names: [car]", "labels/classes.txt": "car\n", "labels/a.txt": f"0 {ring}"}.items():
        (tmp_path / "yolo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "yolo" / name).write_text(text)
    out = imported(tmp_path, tmp_path / "yolo", "yolo")
    assert (mask(out / "masks/a.png") == DRAWN).all()
