"""Rendered scenes: parts, roles, files, and the same bytes again."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from autolabel.config.sources import SyntheticConfig
from autolabel.data.build import ScanResult, build
from autolabel.data.decode import decode_image
from autolabel.data.manifest import training_rows, unlabelled_images, val_rows
from autolabel.data.sources import synthetic
from autolabel.data.sources.registry import fingerprint
from autolabel.store import InputDigests
from streetscenes import render


def settings(**change: int) -> SyntheticConfig:
    counts = {"num_fine": 2, "num_coarse": 3, "num_val": 1}
    return SyntheticConfig(source="synthetic", seed=5, size=(32, 64), **(counts | change))


def made(wanted: SyntheticConfig, jobs: int = 1) -> tuple[ScanResult, dict[str, bytes]]:
    files: dict[str, bytes] = {}
    return build(wanted, write_many=files.update, jobs=jobs, quiet=True), files


@pytest.mark.slow
def test_parts_roles_and_files() -> None:
    built, files = made(settings())
    manifest = built.manifest
    assert len(training_rows(manifest, ["fine"])) == 2
    assert len(unlabelled_images(manifest)) == 3
    assert len(val_rows(manifest)) == 1
    assert sorted(files) == sorted([row.path for row in (*manifest.images, *manifest.labels)])
    assert {row.root for row in (*manifest.images, *manifest.labels)} == {"data"}
    for row in unlabelled_images(manifest):
        assert manifest.label(row.id, "coarse") is not None
        assert manifest.label(row.id, "truth") is not None
    groups = [{row.group for row in rows} for rows in (unlabelled_images(manifest), manifest.split("val"))]
    assert not groups[0] & groups[1]  # no town is in two parts


@pytest.mark.slow
def test_files_hold_the_rendered_scene() -> None:
    for number, image in synthetic.scenes(settings()):
        scene = render(5, number, size=(32, 64))
        files = synthetic.files(settings(), number, image)
        np.testing.assert_array_equal(decode_image(files[image.path], where="", max_pixels=9999), scene.image)
        maps = {"fine": scene.fine, "truth": scene.fine, "coarse": scene.coarse}
        for label in image.labels:
            np.testing.assert_array_equal(np.array(Image.open(BytesIO(files[label.path]))), maps[label.role])


@pytest.mark.slow
def test_the_same_settings_give_the_same_bytes_whatever_the_jobs() -> None:
    first, files = made(settings())
    second, again = made(settings(), jobs=2)
    assert files == again
    assert first == second


@pytest.mark.slow
def test_a_part_does_not_change_with_the_size_of_another() -> None:
    _, few = made(settings())
    _, more = made(settings(num_fine=3, num_coarse=4))
    assert few.items() <= more.items()


def test_no_scene_is_used_twice() -> None:
    numbers = [number for number, _ in synthetic.scenes(settings(num_fine=9, num_coarse=7, num_val=8))]
    assert len(set(numbers)) == 24


def test_fingerprint_follows_the_settings() -> None:
    assert fingerprint(settings(), InputDigests()) == fingerprint(settings(), InputDigests())
    assert fingerprint(settings(), InputDigests()) != fingerprint(settings(num_val=2), InputDigests())
