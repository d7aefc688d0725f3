"""A label map that leaves through a format and comes back is the same map."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings

from autolabel.classes import ClassSet
from autolabel.formats.base import ExportOptions, ImportOptions
from autolabel.formats.registry import FORMATS
from tests.formats.maps import LabelMap, adversarial, classes_of, export, in_classes, label_maps, read

BOTH_WAYS = sorted(name for name, format in FORMATS.items() if format.writer and format.reader)
WITHOUT_IGNORE = sorted(name for name in BOTH_WAYS if not FORMATS[name].has_ignore)
MAPS = adversarial()


def back(name: str, folder: Path, labels: LabelMap, classes: ClassSet, *, ignore_class: bool = False) -> LabelMap:
    path = export(name, folder, {"deep folder/straße.jpg": labels}, classes, ignore_class=ignore_class)
    # Label Studio's tasks name only the labels that occur.
    foreign = read(name, path)
    (image,) = foreign.images
    assert image.name.rpartition(".jpg")[0] or image.name == "deep folder/straße"
    drawn = image.draw(*labels.shape)
    if image.size is not None:
        assert image.size == labels.shape
    return in_classes(drawn, foreign.names, classes)


@pytest.mark.parametrize("case", MAPS)
@pytest.mark.parametrize("name", BOTH_WAYS)
def test_adversarial_maps(name: str, case: str, tmp_path: Path) -> None:
    labels, number = MAPS[case]
    np.testing.assert_array_equal(back(name, tmp_path, labels, classes_of(number)), labels)


@pytest.mark.parametrize("case", MAPS)
@pytest.mark.parametrize("name", WITHOUT_IGNORE)
def test_ignore_as_a_class(name: str, case: str, tmp_path: Path) -> None:
    labels, number = MAPS[case]
    np.testing.assert_array_equal(back(name, tmp_path, labels, classes_of(number), ignore_class=True), labels)


@pytest.mark.parametrize("name", BOTH_WAYS)
@settings(max_examples=40, deadline=None)
@given(drawn=label_maps())
def test_any_map(name: str, drawn: tuple[LabelMap, int]) -> None:
    labels, number = drawn
    with TemporaryDirectory() as folder:
        np.testing.assert_array_equal(back(name, Path(folder), labels, classes_of(number)), labels)


def test_a_second_ignore_class_is_refused() -> None:
    classes = ClassSet("x", ("a", "ignore"), ((1, 1, 1), (2, 2, 2)), (0, 1), (255,))
    writer = FORMATS["coco"].writer
    assert writer is not None
    with pytest.raises(Exception, match="has a class named 'ignore' already"):
        writer(ExportOptions(classes, ignore_class=True))


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_the_class_list_comes_back(name: str, tmp_path: Path) -> None:
    classes = classes_of(3)
    path = export(name, tmp_path, {"a.png": np.arange(3, dtype=np.uint8).reshape(1, 3)}, classes)
    foreign = read(name, path, ImportOptions())
    assert tuple(n for n in foreign.names if n not in foreign.unused) == classes.names
    assert foreign.palette is None or foreign.palette[-3:] == classes.palette
