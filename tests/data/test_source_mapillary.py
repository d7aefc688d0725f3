"""Mapillary Vistas: both versions and the first layout, in small trees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from autolabel.config.sources import MapillaryConfig
from autolabel.data.build import build
from autolabel.data.loaders import load_label
from autolabel.data.sources.base import SourceListing
from autolabel.data.sources.registry import plan
from autolabel.errors import DataError, ManifestError
from tests.data.image_files import encoded, ids, palette_png, put, put_image

# Names that differ only in case, as the real keys do.
SPLITS = {"training": ["Ab-1", "aB-1"], "validation": ["_v"], "testing": ["t1"]}


def config(count: int) -> bytes:
    labels = [{"name": f"c--{k}", "readable": "", "color": [k, 0, 0], "evaluate": k != 2} for k in range(count)]
    return json.dumps({"labels": labels, "version": "x"}).encode()


def make(root: Path, config_name: str, label_folder: str, count: int = 5) -> Path:
    put(root / config_name, config(count))
    for split, names in SPLITS.items():
        for name in names:
            put_image(root / split / "images" / f"{name}.jpg")
            if split != "testing":
                put(root / split / label_folder / f"{name}.png", palette_png(ids(0, 1, 2, 4)))
    return root


def planned(root: Path, **settings: object) -> SourceListing:
    return plan(MapillaryConfig(source="mapillary", root=root, **settings))


def summary(found: SourceListing) -> dict[str, tuple]:
    return {image.id: (image.split, image.group, [label.role for label in image.labels]) for image in found.images}


PUBLISHED = {
    "Ab-1": ("train", "training", ["fine"]),
    "aB-1": ("train", "training", ["fine"]),
    "_v": ("val", "validation", ["fine"]),
    "t1": ("train", "testing", []),
}


@pytest.mark.parametrize(
    ("version", "config_name", "folder"),
    [
        ("v2.0", "config_v2.0.json", "v2.0/labels"),
        ("v1.2", "config_v1.2.json", "v1.2/labels"),
        ("v1.2", "config.json", "labels"),
    ],
)
def test_layouts(tmp_path: Path, version: str, config_name: str, folder: str) -> None:
    found = planned(make(tmp_path, config_name, folder), version=version)
    assert summary(found) == PUBLISHED
    assert found.images[0].labels[0].path == f"training/{folder}/Ab-1.png"
    assert (found.classes.ids, found.classes.ignored_ids) == ((0, 1, 3, 4), (2,))


@pytest.mark.parametrize(("version", "evaluated", "total"), [("v1.2", 65, 66), ("v2.0", 116, 124)])
def test_published_class_counts(tmp_path: Path, version: str, evaluated: int, total: int) -> None:
    root = make(tmp_path, f"config_{version}.json", f"{version}/labels")
    table = json.loads(config(total))
    for k, label in enumerate(table["labels"]):
        label["evaluate"] = k < evaluated
    put(root / f"config_{version}.json", json.dumps(table).encode())
    assert planned(root, version=version).classes.num_classes == evaluated


def test_labelled_splits_may_play_the_unlabelled_part(tmp_path: Path) -> None:
    root = make(tmp_path, "config_v2.0.json", "v2.0/labels")
    assert summary(planned(root, unlabelled=("validation",))) == {
        "Ab-1": PUBLISHED["Ab-1"],
        "aB-1": PUBLISHED["aB-1"],
        "_v": ("train", "validation", ["truth"]),
    }


def test_hidden_truth_alone_is_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training image has a label"):
        planned(make(tmp_path, "config_v2.0.json", "v2.0/labels"), unlabelled=("training",))


def test_palette_indices_are_read_as_ids(tmp_path: Path) -> None:
    root = make(tmp_path, "config_v2.0.json", "v2.0/labels")
    put(root / "training/v2.0/labels/aB-1.png", encoded(ids(0, 1, 2, 4)))  # plain grey is as good
    manifest = build(
        MapillaryConfig(source="mapillary", root=root), write_many=pytest.fail, jobs=1, quiet=True
    ).manifest
    for name in ("Ab-1", "aB-1"):
        row = manifest.label(name, "fine")
        assert row.counts == (24, 24, 0, 24, 24)  # index 4 is train id 3, index 2 is ignored
        found = load_label(row, {"source": root}, manifest.classes)
        np.testing.assert_array_equal(found, np.array([0, 1, 255, 0, 3], np.uint8)[ids(0, 1, 2, 4)])


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("training/v2.0/labels/Ab-1.png", "training/v2.0/labels: images without a label: Ab-1"),
        ("validation/images/_v.jpg", "validation/v2.0/labels: labels without an image: _v"),
        ("config_v2.0.json", r"config_v2\.0\.json: cannot be read: No such file.*in the version data\.version names"),
    ],
)
def test_missing_files_are_named(tmp_path: Path, remove: str, message: str) -> None:
    root = make(tmp_path, "config_v2.0.json", "v2.0/labels")
    (root / remove).unlink()
    with pytest.raises(DataError, match=message):
        planned(root)


def test_the_first_layout_holds_no_v2_labels(tmp_path: Path) -> None:
    root = make(tmp_path, "config_v2.0.json", "labels")
    with pytest.raises(DataError, match=r"training/v2\.0/labels: no such folder"):
        planned(root)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"labels": 3}', b"\xff"])
def test_a_wrong_config_is_named(tmp_path: Path, text: bytes) -> None:
    root = make(tmp_path, "config_v2.0.json", "v2.0/labels")
    put(root / "config_v2.0.json", text)
    with pytest.raises((DataError, ManifestError), match=r"config_v2\.0\.json: "):
        planned(root)
