"""FiftyOne's importers read the exports; a whole dataset needs MongoDB, which not every machine has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.classes import IGNORE
from tests_formats.conftest import exported

foud = pytest.importorskip("fiftyone.utils.data", reason="needs fiftyone")


@pytest.mark.parametrize("number", [2, 3, 200])
def test_importer(number: int, tmp_path: Path) -> None:
    folder, maps, classes = exported("fiftyone", tmp_path, number)
    importer = foud.ImageSegmentationDirectoryImporter(
        data_path=str(folder / "data"), labels_path=str(folder / "labels"), compute_metadata=False
    )
    importer.setup()
    read = {Path(image).name: label.get_mask() for image, _, label in importer}
    assert set(read) == set(maps)
    targets = {int(value): name for value, name in json.loads((folder / "mask_targets.json").read_text()).items()}
    assert tuple(targets.values()) == classes.names
    for name, labels in maps.items():
        np.testing.assert_array_equal(read[name], np.where(labels == IGNORE, 0, labels.astype(int) + 1))


@pytest.mark.parametrize("number", [2, 3, 200])
def test_coco_importer(number: int, tmp_path: Path) -> None:
    """Detections are cut to their boxes, which are fractions of the image."""
    fouc = pytest.importorskip("fiftyone.utils.coco")
    pytest.importorskip("pycocotools")
    file, maps, classes = exported("coco", tmp_path, number)
    for name, labels in maps.items():
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(labels).save(tmp_path / "images" / name)
    importer = fouc.COCODetectionDatasetImporter(
        data_path=str(tmp_path / "images"), labels_path=str(file), label_types="segmentations"
    )
    importer.setup()
    read = {Path(image).name: labels for image, _, labels in importer}
    assert set(read) == set(maps)
    for name, expected in maps.items():
        drawn = np.full(expected.shape, IGNORE, np.uint8)
        for detection in read[name].detections if read[name] is not None else ():
            size = np.array([*expected.shape[::-1], *expected.shape[::-1]])
            left, top, width, height = np.rint(np.array(detection.bounding_box) * size).astype(int)
            assert detection.mask.shape == (height, width)
            drawn[top : top + height, left : left + width][detection.mask] = classes.names.index(detection.label)
        np.testing.assert_array_equal(drawn, expected)
