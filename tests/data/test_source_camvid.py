"""CamVid: a small tree of our own with every refusal, and the real data."""

from __future__ import annotations

from pathlib import Path

import pytest

from autolabel.config.sources import CamVidConfig
from autolabel.data.build import build
from autolabel.data.manifest import training_rows, unlabelled_images, val_rows
from autolabel.data.sources.registry import fingerprint, plan
from autolabel.errors import DataError
from autolabel.store import InputDigests
from tests.data.image_files import put, put_image, put_mask


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for split, names in {"train": ["s1_1", "s1_2", "s2_1"], "val": ["s3_1"]}.items():
        for number, name in enumerate(names):
            put_image(tmp_path / split / f"{name}.jpg", number)
            put_mask(tmp_path / f"{split}annot" / f"{name}.png", 0, 3, 11)
            if split == "train":
                put_mask(tmp_path / "trainannot_coarse" / f"{name}.png", 3, 11, 11)
    put(tmp_path / "fine.txt", b"s1_1\n")
    put(tmp_path / "coarse.txt", b"s1_2\r\n\n s2_1 \n")
    put(tmp_path / "val.txt", b"s3_1")
    return tmp_path


def planned(root: Path, **settings: object) -> dict[str, tuple]:
    found = plan(CamVidConfig(source="camvid", root=root, **settings))
    return {i.id: (i.split, i.group, i.path, [(x.role, x.path) for x in i.labels]) for i in found.images}


def test_roles_splits_and_groups(tree: Path) -> None:
    coarse = "trainannot_coarse"
    assert planned(tree) == {
        "s1_1": ("train", "s1", "train/s1_1.jpg", [("fine", "trainannot/s1_1.png"), ("coarse", f"{coarse}/s1_1.png")]),
        "s1_2": ("train", "s1", "train/s1_2.jpg", [("coarse", f"{coarse}/s1_2.png"), ("truth", "trainannot/s1_2.png")]),
        "s2_1": ("train", "s2", "train/s2_1.jpg", [("coarse", f"{coarse}/s2_1.png"), ("truth", "trainannot/s2_1.png")]),
        "s3_1": ("val", "s3", "val/s3_1.jpg", [("fine", "valannot/s3_1.png")]),
    }


def test_truth_and_coarse_labels_may_be_missing_where_they_are_extras(tree: Path) -> None:
    (tree / "trainannot/s1_2.png").unlink()
    (tree / "trainannot_coarse/s1_1.png").unlink()
    found = planned(tree)
    assert [role for role, _ in found["s1_2"][3]] == ["coarse"]
    assert [role for role, _ in found["s1_1"][3]] == ["fine"]


def test_a_tree_without_a_coarse_part(tree: Path) -> None:
    put(tree / "none.txt", b"\n")
    for file in (tree / "trainannot_coarse").iterdir():
        file.unlink()
    (tree / "trainannot_coarse").rmdir()
    assert list(planned(tree, coarse="none.txt")) == ["s1_1", "s3_1"]


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("coarse.txt", r"coarse\.txt: cannot be read: No such file.*must hold a list of names 'coarse\.txt'"),
        ("train/s1_2.jpg", r"train: no image for names in coarse\.txt: s1_2; correct the list"),
        ("trainannot/s1_1.png", "trainannot: no label PNG for listed images: s1_1"),
        ("trainannot_coarse/s1_2.png", "trainannot_coarse: no label PNG for listed images: s1_2"),
        ("valannot/s3_1.png", "valannot: no label PNG for listed images: s3_1"),
    ],
)
def test_missing_files_are_named(tree: Path, remove: str, message: str) -> None:
    (tree / remove).unlink()
    with pytest.raises(DataError, match=message):
        planned(tree)


@pytest.mark.parametrize("folder", ["train", "val", "trainannot", "trainannot_coarse"])
def test_missing_folders_are_named(tree: Path, folder: str) -> None:
    (tree / folder).rename(tree / "elsewhere")
    with pytest.raises(DataError, match=f"{folder}: no such folder; data.root must hold it"):
        planned(tree)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"fine.txt": "s1_1\ns1_1"}, r"fine\.txt: 's1_1' stands in it twice"),
        ({"fine.txt": "s1_1\ns1_2"}, "more than one image has the id: s1_2"),
        ({"fine.txt": "../val/s3_1"}, r"no image for names in fine\.txt: \.\./val/s3_1"),
        ({"fine.txt": "", "coarse.txt": "", "val.txt": ""}, "holds no image"),
        ({"fine.txt": "", "coarse.txt": ""}, "no training image has a label"),
        ({"fine.txt": "\xff"}, r"fine\.txt: is not UTF-8 text"),
    ],
)
def test_wrong_lists_are_named(tree: Path, lists: dict[str, str], message: str) -> None:
    for name, text in lists.items():
        put(tree / name, text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        planned(tree)


def test_two_images_of_one_name_are_refused(tree: Path) -> None:
    put_image(tree / "train/s1_1.png")
    with pytest.raises(DataError, match=r"'s1_1\.jpg' and 's1_1\.png' have the same name"):
        planned(tree)


@pytest.mark.slow
def test_the_real_data(shared: Path) -> None:
    settings = CamVidConfig(source="camvid", root=shared / "camvid")
    built = build(settings, write_many=pytest.fail, quiet=True)
    manifest = built.manifest
    assert (len(manifest.split("train")), len(manifest.split("val"))) == (367, 101)
    assert (len(training_rows(manifest, ["fine"])), len(unlabelled_images(manifest))) == (56, 311)
    assert len(val_rows(manifest)) == 101
    assert sum(row.role == "truth" for row in manifest.labels) == 311
    assert {(row.width, row.height) for row in manifest.images} == {(480, 360)}
    assert {"0001TP", "0006R0", "0016E5"} <= {row.group for row in manifest.images}
    assert built.quarantined == built.excluded == ()
    assert fingerprint(settings, InputDigests()) == fingerprint(settings, InputDigests())
    # The table of its README: share of all pixels of the train images, in percent.
    fine = [row for row in manifest.labels if manifest.image(row.image_id).split == "train" and row.role != "coarse"]
    coarse = [row for row in manifest.labels if row.role == "coarse"]
    for rows, share in (
        (fine, [16.8, 23.3, 1.0, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.6, 0.3]),
        (coarse, [13.6, 20.6, 0.02, 30.0, 3.1, 7.5, 0.5, 0.8, 4.8, 0.1, 0.1]),
    ):
        assert len(rows) == 367
        counts = [sum(row.counts[k] for row in rows) for k in range(12)]
        assert [100 * count / sum(counts) for count in counts[:11]] == pytest.approx(share, abs=0.06)
    labelled = 1 - sum(row.counts[11] for row in coarse) / sum(sum(row.counts) for row in coarse)
    assert labelled == pytest.approx(0.81, abs=0.005)
