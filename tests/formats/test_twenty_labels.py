"""Twenty labels go out to a tool, a person changes 500 pixels in five of them, and just these come home."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autolabel.formats.brush_rle import encode
from autolabel.formats.corrections import UNCHANGED
from autolabel.formats.runs import class_runs
from autolabel.labels import png
from tests.formats.label_sets import write_label_set
from tests.stages.tiny_pipeline import call, call_json

NAMES = ("road", "car", "sky")
SIZE = (24, 30)


def maps() -> dict[str, np.ndarray]:
    """Twenty maps with a box of road, where the corrections go, and noise of all classes and ignore around it."""
    rng = np.random.default_rng(5)
    found = {}
    for number in range(20):
        values = rng.choice(np.array([0, 1, 2, 255], np.uint8), SIZE)
        values[5:15, 3:13] = 0
        found[f"cam {number % 2}/straße {number:02}"] = values
    return found


def edit_cvat(folder: Path) -> Path:
    file = folder / "annotations.xml"
    box = '<box label="car" source="manual" occluded="0" xtl="3" ytl="5" xbr="13" ybr="15" z_order="1"/></image>'
    file.write_text(file.read_text().replace("</image>", box, 5))
    return file


def edit_label_studio(folder: Path) -> Path:
    file = folder / "tasks.json"
    tasks = json.loads(file.read_text())
    stroke = np.zeros(SIZE, np.uint8)
    stroke[5:15, 3:13] = 1
    value = {"format": "rle", "rle": encode(class_runs(stroke.ravel())[1]), "brushlabels": ["car"]}
    for number, task in enumerate(tasks):
        result = task.pop("predictions")[0]["result"]
        task["annotations"] = [{"id": number, "result": result + [{**result[0], "value": value}] * (number < 5)}]
    file.write_text(json.dumps(tasks))
    return file


@pytest.mark.parametrize(("name", "edit"), [("cvat", edit_cvat), ("label-studio", edit_label_studio)])
def test_five_hundred_pixels_of_twenty_labels(name: str, edit: Callable[[Path], Path], tmp_path: Path) -> None:
    before = maps()
    labels = write_label_set(tmp_path / "set", NAMES, before)
    images = tmp_path / "images"
    for image_id in before:
        file = images / f"{image_id}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png.encode(np.zeros(SIZE, np.uint8)))
    out = tmp_path / "export"
    result = call("export", "labels", labels, "--format", name, "--out", out, "--images", images, "-q")
    assert result.exit_code == 0, result.output
    home = tmp_path / "home"
    arguments = (edit(out), "--labels", labels, "--format", name, "--out", home)
    found = call_json("corrections", "import", *arguments, "-q")
    assert (found["compared"], found["images"], found["pixels"]) == (20, 5, 500)
    for file in (home / "masks").rglob("*.png"):
        mask = png.decode(file.read_bytes())
        changed = np.full(SIZE, UNCHANGED, np.uint8)
        changed[5:15, 3:13] = NAMES.index("car")
        assert (mask == changed).all()
