"""datumaro reads our COCO, CVAT, VOC and Cityscapes exports."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset

from autolabel.classes import CLASS_SETS, IGNORE
from tests.data.image_files import encoded
from tests.formats.maps import export
from tests_formats.conftest import LabelMap, of_number, plain_classes_of


def drawn(dataset: Dataset, classes_names: tuple[str, ...]) -> dict[str, LabelMap]:
    """Item id -> map, of masks whose labels are found by name."""
    names = [label.name for label in dataset.categories()[AnnotationType.label]]
    maps = {}
    for item in dataset:
        masks = [annotation for annotation in item.annotations if annotation.type == AnnotationType.mask]
        shape = item.media.size if item.media is not None and item.media.size else masks[0].image.shape
        labels = np.full(shape, IGNORE, np.uint8)
        for annotation in masks:
            name = names[annotation.label]
            if name in classes_names:
                labels[annotation.image.astype(bool)] = classes_names.index(name)
        maps[item.id.replace("\\", "/")] = labels
    return maps


@pytest.mark.parametrize("number", [2, 3, 200])
def test_coco(number: int, tmp_path: Path) -> None:
    classes, maps = plain_classes_of(number), of_number(number)
    file = export("coco", tmp_path / "out", maps, classes)
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    shutil.copy(file, root / "annotations" / "instances_train.json")
    shutil.copytree(file.parent / "images", root / "images" / "train")
    found = drawn(Dataset.import_from(str(root), "coco_instances"), classes.names)
    check(found, maps)


@pytest.mark.parametrize("number", [2, 3, 200])
def test_cvat(number: int, tmp_path: Path) -> None:
    classes, maps = plain_classes_of(number), of_number(number)
    file = export("cvat", tmp_path, maps, classes)
    found = drawn(Dataset.import_from(str(file.parent), "cvat"), classes.names)
    check(found, maps)


@pytest.mark.parametrize("number", [2, 3, 200])
def test_voc(number: int, tmp_path: Path) -> None:
    classes, maps = plain_classes_of(number), of_number(number)
    for name, labels in maps.items():
        (tmp_path / "JPEGImages").mkdir(exist_ok=True)
        (tmp_path / "JPEGImages" / name).write_bytes(encoded(np.zeros((*labels.shape, 3), np.uint8)))
    export("voc", tmp_path, maps, classes)
    found = drawn(Dataset.import_from(str(tmp_path), "voc_segmentation"), classes.names)
    check(found, maps)


def test_cityscapes(tmp_path: Path) -> None:
    classes = CLASS_SETS["cityscapes"]
    maps = {f"aachen_000000_00000{i}_leftImg8bit.png": labels for i, labels in enumerate(of_number(3).values())}
    export("cityscapes", tmp_path, maps, classes)
    found = drawn(Dataset.import_from(str(tmp_path), "cityscapes"), classes.names)
    assert len(found) == len(maps)
    for name, labels in maps.items():
        (match,) = [map_ for id_, map_ in found.items() if name.removesuffix("_leftImg8bit.png") in id_]
        # datumaro's reader of train ids leaves out id 0, whatever wrote the file.
        np.testing.assert_array_equal(match, np.where(labels == 0, IGNORE, labels))


def check(found: dict[str, LabelMap], maps: dict[str, LabelMap]) -> None:
    assert set(found) == {name.removesuffix(".png") for name in maps}
    for name, labels in maps.items():
        np.testing.assert_array_equal(found[name.removesuffix(".png")], labels, err_msg=name)
