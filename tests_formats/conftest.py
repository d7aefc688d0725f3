"""Exports as others read them, in an environment of their own (`make test-formats`): these readers need much that must
not be beside torch in the environment of the other tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from autolabel.classes import ClassSet
from tests.formats.maps import adversarial, classes_of, export

LabelMap = NDArray[np.uint8]
MAPS = adversarial()


@pytest.fixture(params=[False, True], ids=["omit", "class"])
def ignore_class(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def of_number(number: int) -> dict[str, LabelMap]:
    """Image name -> map, of the maps with this number of classes."""
    return {f"{case.replace(' ', '-')}.png": labels for case, (labels, count) in MAPS.items() if count == number}


NUMBERS = sorted({number for _, number in MAPS.values()})


def exported(name: str, folder: Path, number: int, **options: bool) -> tuple[Path, dict[str, LabelMap], ClassSet]:
    maps, classes = of_number(number), classes_of(number)
    return export(name, folder, maps, classes, **options), maps, classes


def plain_classes_of(number: int) -> ClassSet:
    """Names without the characters that some of these readers cannot read back themselves."""
    classes = classes_of(number)
    names = tuple(f"class-{index}" for index in range(number))
    return ClassSet("x", names, classes.palette, classes.ids, classes.ignored_ids)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The readers warn of their own affairs."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore"))
