"""`export labels` and `import labels` on label sets as users have them: names, ids, images, cards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from autolabel.classes import CLASS_SETS, IGNORE, parse_class_file
from autolabel.cli.export_labels import WRITERS
from autolabel.cli.import_labels import READERS
from autolabel.cli.main import cli
from autolabel.config.sources import FolderConfig
from autolabel.data.decode import decode_label
from autolabel.data.sources import folder as folder_source
from autolabel.formats import registry
from autolabel.labels import png
from tests.formats.label_sets import images_of, small_maps, write_label_set

NAMES = ("road", "car", "person")
SINGLE = {"coco": "annotations.json", "cvat": "annotations.xml", "label-studio": "tasks.json"}


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [*map(str, arguments), "-q"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_commands_offer_the_formats_of_the_table() -> None:
    assert WRITERS == registry.WRITERS
    assert READERS == registry.READERS


@pytest.mark.parametrize("label_ids", ["train", "dataset"])
@pytest.mark.parametrize("name", sorted(set(WRITERS) & set(READERS)))
def test_out_and_in(name: str, label_ids: str, tmp_path: Path) -> None:
    labels = write_label_set(tmp_path / "set", NAMES, label_ids=label_ids)  # type: ignore[arg-type]
    images = images_of(labels, tmp_path / "images")
    out = tmp_path / "export"
    result = call("export", "labels", labels, "--format", name, "--out", out, "--images", images, "--copy-images")
    assert result.exit_code == 0, result.output
    assert ("has no ignore" in result.stdout) == (name in ("coco", "cvat", "label-studio", "yolo"))
    assert ("not exact" in result.stdout) == (name == "yolo")
    back = tmp_path / "back"
    taken = call("import", "labels", out / SINGLE.get(name, ""), "--format", name, "--images", images, "--out", back)
    assert taken.exit_code == 0, taken.output
    classes = parse_class_file((back / "classes.toml").read_text(), "classes.toml")
    listing = folder_source.plan(FolderConfig(source="folder", root=back))
    assert {image.id for image in listing.images} == set(small_maps(3))
    for image, expected in small_maps(3).items():
        drawn = decode_label(
            (back / "masks" / f"{image}.png").read_bytes(), where=image, classes=classes, encoding="ids", max_pixels=999
        )
        order = np.array([NAMES.index(class_name) for class_name in classes.names] + [IGNORE] * 256, np.uint8)
        np.testing.assert_array_equal(np.where(drawn == IGNORE, IGNORE, order[np.minimum(drawn, 200)]), expected)


def test_ids_of_cityscapes_are_its_own(tmp_path: Path) -> None:
    labels = write_label_set(tmp_path / "set", NAMES)
    assert call("export", "labels", labels, "--format", "cityscapes", "--out", tmp_path / "out").exit_code == 0
    files = sorted((tmp_path / "out" / "gtFine").rglob("*_labelIds.png"))
    assert len(files) == 3
    known = CLASS_SETS["cityscapes"]
    for file, expected in zip(files, small_maps(3).values(), strict=True):
        drawn = decode_label(file.read_bytes(), where=file, classes=known, encoding="ids", max_pixels=999)
        table = np.full(256, IGNORE, np.uint8)
        table[:3] = [known.names.index(name) for name in NAMES]
        np.testing.assert_array_equal(drawn, table[expected])
        trained = png.decode(Path(str(file).replace("labelIds", "labelTrainIds")).read_bytes())
        np.testing.assert_array_equal(trained, table[expected])


def test_card_and_metadata(tmp_path: Path) -> None:
    labels = write_label_set(tmp_path / "set", ("road", "a|b"))
    options = ("--licence", "cc-by-4.0", "--name", "Streets", "--creator", "me", "--url", "https://example.org")
    assert call("export", "labels", labels, "--format", "mmseg", "--out", tmp_path / "out", *options).exit_code == 0
    card = (tmp_path / "out" / "README.md").read_text()
    maps = small_maps(2).values()
    pixels = sum(map_.size for map_ in maps)
    ignored = sum(int((map_ == IGNORE).sum()) for map_ in maps)
    assert f"{100 * ignored / pixels:.1f} % of {pixels} pixels are ignore" in card
    assert "| a\\|b | " in card
    assert "cc-by-4.0" in card
    assert "teacher | not known" in card
    assert "accuracy of these labels is not known" in card
    metadata = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert (metadata["name"], metadata["license"]) == ("Streets", "cc-by-4.0")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("coco", (), "does not know the image files that coco names"),
        ("hf", (), "--images: is missing"),
        ("mmseg", ("--copy-images",), "--images: is missing"),
        ("mmseg", ("--split", "a/b"), "--split"),
    ],
)
def test_what_is_missing_is_said(name: str, options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    labels = write_label_set(tmp_path / "set", NAMES)
    result = call("export", "labels", labels, "--format", name, "--out", tmp_path / "out", *options)
    assert result.exit_code in (2, 3)
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_images_that_do_not_fit(tmp_path: Path) -> None:
    labels = write_label_set(tmp_path / "set", NAMES)
    images = images_of(labels, tmp_path / "images", ".jpg")
    file = images / "rear" / "b.jpg"
    other = (images / "front cam" / "b.jpg").read_bytes()
    file.write_bytes(other)
    result = call("export", "labels", labels, "--format", "hf", "--out", tmp_path / "out", "--images", images)
    assert (result.exit_code, "its label is 16 x 12" in result.stderr) == (3, True), result.stderr
    file.unlink()
    result = call("export", "labels", labels, "--format", "hf", "--out", tmp_path / "out", "--images", images)
    assert (result.exit_code, "labels without an image there: rear/b" in result.stderr) == (3, True)
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []
    result = call("export", "labels", images, "--format", "mmseg", "--out", tmp_path / "out")
    assert (result.exit_code, "is no label set" in result.stderr) == (3, True)
    (tmp_path / "out").mkdir()
    result = call("export", "labels", labels, "--format", "mmseg", "--out", tmp_path / "out")
    assert (result.exit_code, "exists already" in result.stderr) == (2, True)


def coco(tmp_path: Path, *annotations: tuple[int, list[float]], names: tuple[str, ...] = ("car", "bus")) -> Path:
    rows = [
        {"id": n, "image_id": 1, "category_id": category, "segmentation": [ring], "area": max(ring)}
        for n, (category, ring) in enumerate(annotations)
    ]
    categories = [{"id": n, "name": name} for n, name in enumerate(names, 1)]
    image = {"id": 1, "file_name": "somewhere/else/b.png", "height": 12, "width": 16}
    document = {"images": [image], "categories": categories, "annotations": rows}
    (tmp_path / "a.json").write_text(json.dumps(document))
    return tmp_path / "a.json"


def mask(tmp_path: Path, file: Path, *options: object) -> np.ndarray:
    maps = {"rear/b": small_maps(3)["rear/b"]}
    images = images_of(write_label_set(tmp_path / "one", NAMES, maps), tmp_path / "its image")
    out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
    result = call("import", "labels", file, "--format", "coco", "--images", images, "--out", out, *options)
    assert result.exit_code == 0, result.stderr
    return png.decode((out / "masks" / "rear" / "b.png").read_bytes())


def test_options_of_the_import(tmp_path: Path) -> None:
    large, small = [0, 0, 8, 0, 8, 8, 0, 8], [2, 2, 4, 2, 4, 4, 2, 4]
    expected = np.full((12, 16), IGNORE, np.uint8)
    expected[:8, :8] = 1
    expected[2:4, 2:4] = 0
    file = coco(tmp_path, (1, small), (2, large))  # the larger one is later, but lies below
    np.testing.assert_array_equal(mask(tmp_path, file), expected)
    np.testing.assert_array_equal(mask(tmp_path, file, "--background", "rest"), np.where(expected == 255, 2, expected))
    merged = mask(tmp_path, file, "--map", "bus=car")
    np.testing.assert_array_equal(merged, np.where(expected == 1, 0, expected))
    dropped = mask(tmp_path, file, "--map", "bus=")
    np.testing.assert_array_equal(dropped, np.where(expected == 1, 255, expected))


def test_a_class_named_ignore_must_be_explained(tmp_path: Path) -> None:
    file = coco(tmp_path, (1, [0, 0, 8, 0, 8, 8]), names=("ignore", "car"))
    out = tmp_path / "out"
    images = images_of(write_label_set(tmp_path / "set", NAMES), tmp_path / "images")
    result = call("import", "labels", file, "--format", "coco", "--images", images / "rear", "--out", out)
    assert (result.exit_code, "--ignore class" in result.stderr) == (3, True)
    assert set(np.unique(mask(tmp_path, file, "--ignore", "class"))) == {255}
    assert set(np.unique(mask(tmp_path, file, "--ignore", "omit"))) == {0, 255}
    unknown = call("import", "labels", file, "--format", "coco", "--images", images, "--out", out, "--map", "bus=")
    assert (unknown.exit_code, "has no class 'bus'" in unknown.stderr) == (3, True)
    ambiguous = call("import", "labels", coco(tmp_path), "--format", "coco", "--images", images, "--out", out)
    assert (ambiguous.exit_code, "fits 2 images" in ambiguous.stderr) == (3, True)


def test_crossing_polygons_by_rule(tmp_path: Path) -> None:
    star = [8, 0, 12, 12, 0, 4, 16, 4, 4, 12]  # its middle is wound around twice
    file = coco(tmp_path, (1, star))
    even, full = (mask(tmp_path, file, "--crossing", rule) for rule in ("even-odd", "nonzero"))
    assert even[6, 8] == 255
    assert full[6, 8] == 0
    assert (full == 0).sum() > (even == 0).sum()
