"""FiftyOne's importer reads the export; a whole dataset needs MongoDB, which not every machine has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from autolabel.classes import IGNORE
from tests_formats.conftest import exported

foud = pytest.importorskip("fiftyone.utils.data")


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
