"""`datasets.load_dataset` reads the parquet export, with images, masks and names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Image, load_dataset

from tests_formats.conftest import exported


@pytest.mark.parametrize("number", [2, 3, 200])
def test_load_dataset(number: int, tmp_path: Path) -> None:
    _, maps, _ = exported("hf", tmp_path / "export", number)
    data = load_dataset(str(tmp_path / "export"), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(data.features["image"], Image)
    assert isinstance(data.features["mask"], Image)
    assert len(data) == len(maps)
    for row in data:
        assert row["image"].size == row["mask"].size
        assert row["mask"].mode == "L"
        np.testing.assert_array_equal(np.array(row["mask"]), maps[row["name"]])
