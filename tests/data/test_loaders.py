"""Files are read below their root only, and only with the bytes the manifest knows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from autolabel.classes import CLASS_SETS
from autolabel.data.loaders import load_image, load_label, read_verified
from autolabel.data.schema import ImageRow, LabelRow
from autolabel.errors import DataError, ImageError, LabelError
from tests.data.image_files import HEIGHT, WIDTH, encoded, ids, noise_image, put

CAMVID = CLASS_SETS["camvid"]


def image_row(data: bytes, path: str = "a/x.png", width: int = WIDTH) -> ImageRow:
    digest = hashlib.sha256(data).hexdigest()
    return ImageRow("x", "train", "", "source", path, digest, len(data), width, HEIGHT)


def label_row(data: bytes, pixels: int = WIDTH * HEIGHT) -> LabelRow:
    digest = hashlib.sha256(data).hexdigest()
    return LabelRow("x", "fine", "ids", "source", "a/y.png", digest, len(data), (pixels,), "")


def test_an_image_and_its_label(tmp_path: Path) -> None:
    image, label = encoded(noise_image()), encoded(ids(0, 3, 11))
    put(tmp_path / "a/x.png", image)
    put(tmp_path / "a/y.png", label)
    roots = {"source": tmp_path}
    np.testing.assert_array_equal(load_image(image_row(image), roots), noise_image())
    np.testing.assert_array_equal(load_label(label_row(label), roots, CAMVID), ids(0, 3, 255))
    with pytest.raises(ImageError, match="more than the limit of 10"):
        load_image(image_row(image), roots, max_pixels=10)
    with pytest.raises(LabelError, match="more than the limit of 10"):
        load_label(label_row(label), roots, CAMVID, max_pixels=10)
    with pytest.raises(LabelError, match="more than the limit of 95"):
        load_label(label_row(label, 95), roots, CAMVID)


def test_a_size_that_is_not_the_manifests_is_refused(tmp_path: Path) -> None:
    data = encoded(noise_image())
    put(tmp_path / "a/x.png", data)
    with pytest.raises(ImageError, match="is 12 x 8, not 13 x 8"):
        load_image(image_row(data, width=13), {"source": tmp_path})


def test_changed_and_missing_files_are_refused(tmp_path: Path) -> None:
    data = encoded(noise_image())
    file = put(tmp_path / "a/x.png", data[:-1] + b"\0")
    with pytest.raises(DataError, match=r"x\.png: changed since the manifest was built; put it back"):
        load_image(image_row(data), {"source": tmp_path})
    file.unlink()
    with pytest.raises(DataError, match=r"x\.png: cannot be read: No such file"):
        load_image(image_row(data), {"source": tmp_path})


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/passwd", "", "a\0"])
def test_escapes_are_refused(tmp_path: Path, path: str) -> None:
    put(tmp_path / "secret", b"x")
    with pytest.raises(DataError, match="path"):
        read_verified({"source": tmp_path / "data"}, "source", path, hashlib.sha256(b"x").hexdigest())


def test_an_undeclared_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="root 'labels', which is not declared here; declared: source"):
        read_verified({"source": tmp_path}, "labels", "x", "0" * 64)


def test_links_inside_a_data_folder_are_followed(tmp_path: Path) -> None:
    data = encoded(noise_image())
    put(tmp_path / "disk2/x.png", data)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a").symlink_to(tmp_path / "disk2")
    assert load_image(image_row(data), {"source": tmp_path / "data"}).shape == (HEIGHT, WIDTH, 3)
