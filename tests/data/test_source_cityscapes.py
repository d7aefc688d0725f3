"""Cityscapes: a small tree in the published layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from autolabel.config.sources import CityscapesConfig
from autolabel.data.build import build
from autolabel.data.sources.base import SourceListing
from autolabel.data.sources.registry import plan
from autolabel.errors import DataError
from tests.data.image_files import put, put_image, put_mask

TRAIN, VAL, EXTRA = "aachen_000000_000019", "munster_000000_000019", "bad-honnef_000000_000000"
BLACK = "troisdorf_000000_000073"


def add(root: Path, split: str, image_id: str, *kinds: str) -> None:
    city = image_id.split("_")[0]
    put_image(root / "leftImg8bit" / split / city / f"{image_id}_leftImg8bit.png")
    for kind in kinds:
        folder = root / kind / split / city
        put_mask(folder / f"{image_id}_{kind}_labelIds.png", 0, 7, 26, 33)
        put_image(folder / f"{image_id}_{kind}_color.png")
        put_mask(folder / f"{image_id}_{kind}_instanceIds.png")
        put(folder / f"{image_id}_{kind}_polygons.json", b"{}")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    add(tmp_path, "train", TRAIN, "gtFine", "gtCoarse")
    add(tmp_path, "val", VAL, "gtFine", "gtCoarse")
    add(tmp_path, "test", "berlin_000000_000019", "gtFine")
    add(tmp_path, "train_extra", EXTRA, "gtCoarse")
    add(tmp_path, "train_extra", BLACK, "gtCoarse")
    put(tmp_path / "leftImg8bit/train/aachen/._.DS_Store_leftImg8bit.png", b"junk of a Mac")
    put(tmp_path / "README", b"")
    return tmp_path


def planned(root: Path, *coarse: str) -> SourceListing:
    return plan(CityscapesConfig(source="cityscapes", root=root, **({"coarse": coarse} if coarse else {})))


def summary(found: SourceListing) -> dict[str, tuple]:
    return {image.id: (image.split, image.group, [label.role for label in image.labels]) for image in found.images}


def test_the_published_splits(tree: Path) -> None:
    found = planned(tree)
    assert summary(found) == {
        TRAIN: ("train", "aachen", ["fine", "coarse"]),
        VAL: ("val", "munster", ["fine"]),
        EXTRA: ("train", "bad-honnef", ["coarse"]),
    }
    assert found.images[0].path == f"leftImg8bit/train/aachen/{TRAIN}_leftImg8bit.png"
    assert found.images[0].labels[1].path == f"gtCoarse/train/aachen/{TRAIN}_gtCoarse_labelIds.png"


def test_the_black_image_is_left_out_by_name_with_its_reason(tree: Path) -> None:
    assert planned(tree).excluded == ((BLACK, "the image is black"),)


def test_a_fine_split_may_play_the_coarse_part(tree: Path) -> None:
    found = summary(planned(tree, "val"))
    assert found == {TRAIN: ("train", "aachen", ["fine", "coarse"]), VAL: ("train", "munster", ["coarse", "truth"])}


def test_rows_hold_train_id_counts(tree: Path) -> None:
    built = build(CityscapesConfig(source="cityscapes", root=tree), write_many=pytest.fail, jobs=1, quiet=True)
    row = built.manifest.label(TRAIN, "fine")
    assert {k: count for k, count in enumerate(row.counts) if count} == {0: 24, 13: 24, 18: 24, 19: 24}
    assert (row.encoding, row.root, row.provenance) == ("ids", "source", "cityscapes")


@pytest.mark.parametrize("folder", ["leftImg8bit/train", "leftImg8bit/val", "leftImg8bit/train_extra", "gtFine/val"])
def test_missing_folders_are_named(tree: Path, folder: str) -> None:
    (tree / folder).rename(tree / "elsewhere")
    with pytest.raises(DataError, match=rf"{folder}: no such folder; data.root must hold leftImg8bit/"):
        planned(tree)


def test_an_image_without_its_label_is_named(tree: Path) -> None:
    (tree / f"gtFine/train/aachen/{TRAIN}_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match=f"gtFine/train: images without a label: aachen/{TRAIN}; add"):
        planned(tree)


def test_train_id_files_alone_are_explained(tree: Path) -> None:
    file = tree / f"gtFine/train/aachen/{TRAIN}_gtFine_labelIds.png"
    file.rename(file.with_name(f"{TRAIN}_gtFine_labelTrainIds.png"))
    with pytest.raises(DataError, match=r"without a labelIds file.*labelTrainIds\.png are not read"):
        planned(tree)


def test_a_label_without_its_image_is_named(tree: Path) -> None:
    (tree / f"leftImg8bit/train_extra/bad-honnef/{EXTRA}_leftImg8bit.png").unlink()
    with pytest.raises(DataError, match=f"gtCoarse/train_extra: labels without an image.*: bad-honnef/{EXTRA}"):
        planned(tree)


def test_train_ids_under_a_label_ids_name_are_noticed(tree: Path) -> None:
    put_mask(tree / f"gtFine/train/aachen/{TRAIN}_gtFine_labelIds.png", 0, 18, 255)
    with pytest.raises(DataError, match=r"id 255 .*is not in 'cityscapes'"):
        build(CityscapesConfig(source="cityscapes", root=tree), write_many=pytest.fail, jobs=1, quiet=True)
