"""Templates of the names of images and masks, and files that fit none of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from autolabel.errors import ConfigError, DataError
from tests.data.image_files import encoded, ids, put, put_image, put_mask
from tests.data.test_source_folder import pairs, planned, roles, tree

__all__ = ["tree"]


@pytest.mark.parametrize(
    ("image", "mask", "settings"),
    [
        ("images/x/a.jpg", "masks/x/a_mask.png", {"mask_name": "{path}/{stem}_mask.png"}),
        ("images/x/a.jpg", "masks/a_mask.png", {"mask_name": "{stem}_mask.png"}),
        ("images/a.jpg", "images/a_mask.png", {"mask_name": "{path}/{stem}_mask", "masks": "images"}),
        ("images/x/a.png", "images/gt/x/a_gt.png", {"mask_name": "{path}/{stem}_gt", "masks": "images/gt"}),
        (
            "leftImg8bit/train/ulm/ulm_1_leftImg8bit.png",
            "gtFine/train/ulm/ulm_1_gtFine_labelIds.png",
            {
                "images": "leftImg8bit",
                "masks": "gtFine",
                "image_name": "{path}/{stem}_leftImg8bit",
                "mask_name": "{path}/{stem}_gtFine_labelIds",
            },
        ),
        (
            "all/train/images/a.jpg",
            "all/train/labels/a.png",
            {
                "images": "all",
                "masks": "all",
                "image_name": "{path}/images/{stem}",
                "mask_name": "{path}/labels/{stem}",
            },
        ),
        ("images/a[1].jpg", "masks/mask.a[1].tif", {"mask_name": "mask.{stem}"}),
    ],
)
def test_templates_of_names(tmp_path: Path, image: str, mask: str, settings: dict) -> None:
    put(tmp_path / "classes.toml", b'names = ["x"]')
    put_image(tmp_path / image)
    put(tmp_path / mask, encoded(ids(0), "TIFF" if mask.endswith("tif") else "PNG"))
    found = planned(tmp_path, **settings)
    assert pairs(found) == {image: mask}
    assert found.skipped == ()


def test_files_that_are_not_used_are_counted_and_named(tree: Path) -> None:
    for name in ("u.jp2", "u.gif", "v.gif", "w.heic", "README"):
        put(tree / "images" / name, b"")
    for name in ("a_color.png", "b_color.png"):
        put_mask(tree / "masks" / name, 1)
    for old in sorted((tree / "masks").rglob("?.png")):
        old.rename(old.with_name(f"{old.stem}_mask.png"))
    (tree / "coarse/e.png").rename(tree / "coarse/e_mask.png")
    assert [str(item) for item in planned(tree, mask_name="{path}/{stem}_mask.png").skipped] == [
        "2 file(s) in images/ are left out because .gif is not read: u.gif, v.gif",
        "1 file(s) in images/ are left out because .heic is not read: w.heic",
        "1 file(s) in images/ are left out because .jp2 is not read: u.jp2",
        "1 file(s) in images/ are left out because no suffix is not read: README",
        "2 file(s) in masks/ do not fit the name '{path}/{stem}_mask.png': a_color.png, b_color.png",
    ]


def test_masks_of_other_names_are_refused_with_the_remedy(tree: Path) -> None:
    for old in sorted((tree / "masks").rglob("*.png")):
        old.rename(old.with_name(f"{old.stem}_gt.png"))
    with pytest.raises(DataError, match=r"no mask fits an image: a_gt\.png.*set data\.mask_name and data\.image_name"):
        planned(tree)
    assert roles(planned(tree, mask_name="{path}/{stem}_gt", coarse="masks"))["a"] == ["fine", "coarse"]


def test_two_masks_of_one_image_are_refused(tree: Path) -> None:
    put(tree / "masks" / "a.tif", encoded(ids(1), "TIFF"))
    with pytest.raises(DataError, match=r"masks: 'a\.png' and 'a\.tif' have the same name; keep one of them"):
        planned(tree)


def test_one_mask_of_two_images_is_refused(tree: Path) -> None:
    put_image(tree / "images/deep/a.jpg")
    shutil.rmtree(tree / "masks/deep")
    with pytest.raises(DataError, match=r"'a\.png' belongs to two images, 'a\.jpg' and 'deep/a\.jpg'; put the masks"):
        planned(tree, mask_name="{stem}")


@pytest.mark.parametrize("name", ["{path}", "{stem}{stem}", "{name}_x", "{stem", "/{stem}", "../{stem}", "a"])
def test_wrong_templates_are_refused(tree: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.mask_name: .* (must hold|leaves its folder)"):
        planned(tree, mask_name=name)
    with pytest.raises(ConfigError, match=r"data\.mask_name: \.jpg files change ids"):
        planned(tree, mask_name="{stem}.jpg")
