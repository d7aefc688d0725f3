"""Corrections as they come home from tools: no label is lost without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from autolabel.cli.main import cli
from tests.formats.label_sets import images_of, small_maps, write_label_set

NAMES = ("road", "car", "person")
FILES = {"coco": "annotations.json", "label-studio": "tasks.json"}


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*map(str, arguments), "-q"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stderr


def taken(labels: Path, file: Path, name: str, *options: str) -> dict[str, int]:
    """Corrected pixels of each image."""
    out = labels.parent / "corrections"
    assert call("corrections", "import", file, "--format", name, "--labels", labels, "--out", out, *options) == (0, "")
    return {row["id"]: row["pixels"] for row in json.loads((out / "corrections.json").read_text())["images"]}


def refused(labels: Path, file: Path, name: str) -> str:
    out = labels.parent / "corrections"
    code, said = call("corrections", "import", file, "--format", name, "--labels", labels, "--out", out)
    assert (code, len(said.splitlines()), out.exists()) == (3, 1, False), said
    return said


def without_coco(document: Any) -> None:
    first = document["images"][0]["id"]
    document["annotations"] = [row for row in document["annotations"] if row["image_id"] != first]


def without_label_studio(document: Any) -> None:
    document[0]["predictions"] = []


@pytest.mark.parametrize(("name", "remove"), [("coco", without_coco), ("label-studio", without_label_studio)])
def test_an_image_without_any_region(name: str, remove: Callable[[Any], None], tmp_path: Path) -> None:
    labels = write_label_set(tmp_path / "set", NAMES)
    images = images_of(labels, tmp_path / "images")
    export = tmp_path / "export"
    assert call("export", "labels", labels, "--format", name, "--out", export, "--images", images) == (0, "")
    file = export / FILES[name]
    document = json.loads(file.read_text())
    remove(document)
    file.write_text(json.dumps(document))
    said = refused(labels, file, name)
    assert "has images without any region, whose labels would be lost: 1: " in said
    image, expected = next(iter(small_maps(3).items()))
    assert taken(labels, file, name, "--uncovered", "ignore") == {image: np.count_nonzero(expected != 255)}


@pytest.mark.parametrize("as_json", [False, True])
def test_annotations_without_a_pixel_are_counted(as_json: bool, tmp_path: Path) -> None:
    labels = write_label_set(tmp_path / "set", NAMES)
    images = images_of(labels, tmp_path / "images")
    assert (
        call("export", "labels", labels, "--format", "coco", "--out", tmp_path / "export", "--images", images)[0] == 0
    )
    file = tmp_path / "export" / FILES["coco"]
    document = json.loads(file.read_text())
    first = document["images"][0]
    nothing = {"size": [first["height"], first["width"]], "counts": [first["height"] * first["width"]]}
    row = {**document["annotations"][0], "id": 10_000, "image_id": first["id"], "segmentation": nothing}
    document["annotations"] = [*document["annotations"][1:], row]
    file.write_text(json.dumps(document))
    options = ("--format", "coco", "--labels", labels, "--out", tmp_path / "out", *["--json"][:as_json])
    result = CliRunner().invoke(cli, ["corrections", "import", *map(str, (file, *options)), "-q"])
    assert result.exit_code == 0, result.output
    if as_json:
        found = json.loads(result.stdout)
        assert (found["without_region"], found["without_pixels"]) == ({}, {"empty mask": 1})
    else:
        assert result.stdout.startswith("left out: 1 empty masks\n")


def test_a_mask_that_is_all_ignore_says_so_itself(tmp_path: Path) -> None:
    labels = write_label_set(tmp_path / "set", NAMES)
    before = np.array(Image.open(labels / "labels" / "rear" / "b.png"))
    masks = tmp_path / "masks"
    (masks / "rear").mkdir(parents=True)
    Image.fromarray(np.full_like(before, 255)).save(masks / "rear" / "b.png")
    assert taken(labels, masks, "mask") == {"rear/b": np.count_nonzero(before != 255)}


def test_masks_that_are_no_png_are_not_passed_over(tmp_path: Path) -> None:
    labels = write_label_set(tmp_path / "set", NAMES)
    masks = tmp_path / "masks"
    for image in ("rear/b", "front cam/b"):
        (masks / image).parent.mkdir(parents=True)
        Image.open(labels / "labels" / f"{image}.png").save(masks / f"{image}.png")
    Image.fromarray(np.zeros((12, 16), np.uint8)).save(masks / "rear" / "b.jpg")
    assert "differs from" in refused(labels, masks, "mask"), "an image beside its mask is no mask"
    (masks / "rear" / "b.png").unlink()
    assert "holds 1 images that are no PNG, and no mask of their names: rear/b.jpg" in refused(labels, masks, "mask")
