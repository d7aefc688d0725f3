"""The converter of label-studio-sdk reads our tasks once a person has submitted the predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from label_studio_sdk.converter import brush
from label_studio_sdk.converter.converter import Converter

from autolabel.classes import IGNORE
from autolabel.formats.base import ImportOptions
from autolabel.formats.label_studio import from_document
from tests.formats.maps import export, in_classes
from tests_formats.conftest import LabelMap, of_number, plain_classes_of


def submitted(file: Path) -> list[dict]:
    """The tasks as Label Studio exports them after a person has accepted each prediction."""
    tasks = json.loads(file.read_text())
    for number, task in enumerate(tasks, 1):
        result = task.pop("predictions")[0]["result"]
        for index, region in enumerate(result):
            region["id"] = f"r{index}"
        task |= {"id": number, "annotations": [{"id": number, "completed_by": 1, "result": result}]}
    return tasks


@pytest.mark.parametrize("number", [1, 2, 3, 200])
def test_brush_masks(number: int, tmp_path: Path) -> None:
    maps, classes = of_number(number), plain_classes_of(number)
    file = export("label-studio", tmp_path, maps, classes)
    tasks = submitted(file)
    assert [task["data"]["name"] for task in tasks] == list(maps)
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    converter = Converter((file.parent / "interface.xml").read_text(), str(tmp_path), download_resources=False)
    out = tmp_path / "brushes"
    out.mkdir()
    converter.convert(str(tmp_path / "export.json"), str(out), "BRUSH_TO_NUMPY", is_dir=False)
    for index, labels in enumerate(maps.values(), 1):
        drawn = np.full(labels.shape, IGNORE, np.uint8)
        for path in sorted(out.glob(f"task-{index}-*.npy")):
            name = path.stem.split("-label-")[1].rsplit("-", 1)[0]
            drawn[np.load(path) > 0] = classes.names.index(name)
        np.testing.assert_array_equal(drawn, labels)


def test_masks_that_the_sdk_encodes_are_read() -> None:
    rng = np.random.default_rng(5)
    for shape in ((1, 1), (5, 9), (40, 30), (300, 250)):
        mask: LabelMap = (rng.random(shape) < 0.3).astype(np.uint8) * 255
        mask[: shape[0] // 2] = 255
        value = {"format": "rle", "rle": brush.mask2rle(mask), "brushlabels": ["a"]}
        region = {"type": "brushlabels", "original_width": shape[1], "original_height": shape[0], "value": value}
        task = {"data": {"image": "/data/upload/1/0123abcd-x.png"}, "annotations": [{"result": [region]}]}
        foreign = from_document(json.loads(json.dumps([task])), "x", ImportOptions())
        labels = in_classes(foreign.images[0].draw(*shape), foreign.names, plain_classes_of(1))
        assert labels.shape == shape
        np.testing.assert_array_equal(foreign.images[0].draw(*shape) == 0, mask > 0)
