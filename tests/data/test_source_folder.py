"""Your own folder: layouts that must work, and everything that must be refused."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.classes import ClassSet
from autolabel.config.sources import FolderConfig
from autolabel.data.build import build
from autolabel.data.manifest import training_rows, unlabelled_images, val_rows
from autolabel.data.sources.base import SourceListing
from autolabel.data.sources.registry import plan
from autolabel.data.sources.splits import held_out
from autolabel.errors import ConfigError, DataError, LabelError
from autolabel.labels.label_set import Statement
from autolabel.store import WORK_MARK
from tests.data.image_files import encoded, ids, palette_png, put, put_image, put_mask


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    put(tmp_path / "classes.toml", b'names = ["lawn", "path"]\nids = [1, 2]\nignored_ids = [0, 255]')
    for number, name in enumerate(["a.jpg", "b.JPEG", "deep/er/c.png", "deep/d.webp", "e.bmp", "f.tif"]):
        put_image(tmp_path / "images" / name, number)
    for name in ("a", "b", "deep/er/c", "deep/d"):
        put_mask(tmp_path / "masks" / f"{name}.png", 0, 1, 2, 255)
    put_mask(tmp_path / "coarse" / "e.png", 1, 255)
    return tmp_path


def planned(root: Path, **settings: object) -> SourceListing:
    return plan(FolderConfig(source="folder", root=root, **settings))


def roles(found: SourceListing) -> dict[str, list[str]]:
    return {image.id: [label.role for label in image.labels] for image in found.images}


def test_every_format_in_nested_folders(tree: Path) -> None:
    put(tree / "images" / "notes.txt", b"")
    put(tree / "images" / "._a.jpg", b"")
    put(tree / "masks" / ".DS_Store", b"")
    found = planned(tree)
    assert roles(found) == {
        "a": ["fine"],
        "b": ["fine"],
        "deep/d": ["fine"],
        "deep/er/c": ["fine"],
        "e": ["coarse"],
        "f": [],
    }
    assert {image.id: image.group for image in found.images}["deep/er/c"] == "deep/er"
    assert {image.id: image.path for image in found.images}["b"] == "images/b.JPEG"


def test_build_and_selection(tree: Path) -> None:
    built = build(FolderConfig(source="folder", root=tree), write_many=pytest.fail, jobs=2, quiet=True)
    manifest = built.manifest
    assert len(val_rows(manifest)) == 1  # a fifth of the four with masks
    assert len(training_rows(manifest, ["fine"])) == 3
    assert [row.id for row in unlabelled_images(manifest)] == ["e", "f"]
    assert manifest.label("a", "fine").counts == (24, 24, 48)
    assert {row.root for row in manifest.images} == {"source"}


@given(st.lists(st.text(max_size=8), unique=True), st.floats(0, 1))
def test_held_out_share(names: list[str], share: float) -> None:
    held = held_out(names, share)
    assert held <= set(names)
    assert held == held_out(names[::-1], share)  # order says nothing
    assert len(held) < max(len(names), 1)
    if share == 0:
        assert not held
    elif len(names) > 1:
        assert len(held) == min(max(1, round(share * len(names))), len(names) - 1)


def test_train_and_val_folders_are_the_splits(tmp_path: Path) -> None:
    put(tmp_path / "classes.toml", b'names = ["x"]')
    for name in ("train/a", "train/b", "val/a", "test/a", "more/a", "top"):
        put_image(tmp_path / "images" / f"{name}.png")
    for name in ("train/a", "val/a"):
        put_mask(tmp_path / "masks" / f"{name}.png", 0)
    with pytest.raises(DataError, match=r"in '\.' and 1 more; say which split they are: data\.splits = { \"\.\" = "):
        planned(tmp_path)
    found = planned(tmp_path, splits={".": "train"})
    splits = {image.id: image.split for image in found.images}
    assert splits == {
        "train/a": "train", "train/b": "train", "val/a": "val", "test/a": "test", "more/a": "train", "top": "train"
    }  # fmt: skip
    (tmp_path / "masks/val/a.png").unlink()
    with pytest.raises(DataError, match="images: val images without a mask: val/a; add the masks"):
        planned(tmp_path, splits={".": "train"})


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "valid", "test"),
        ("training", "validation", "testing"),
        ("Train", "Val", "TEST"),
        ("train2017", "val2017", "test_a"),
    ],
)
def test_split_folders_of_published_layouts(tmp_path: Path, train: str, val: str, test: str) -> None:
    put(tmp_path / "classes.toml", b'names = ["x"]')
    for folder in (train, val, test):
        for number in range(3):
            put_image(tmp_path / "images/10k" / folder / f"{number}.png")
            put_mask(tmp_path / "masks/10k" / folder / f"{number}.png", 0)
    splits = {image.id: image.split for image in planned(tmp_path).images}
    wanted = {train: "train", val: "val", test: "test"}
    assert splits == {f"10k/{folder}/{number}": wanted[folder] for folder in wanted for number in range(3)}


def test_nothing_named_test_is_trained_on_or_held_out(tmp_path: Path) -> None:
    """Without a val folder too: the validation images come from the others."""
    put(tmp_path / "classes.toml", b'names = ["x"]')
    for name in ("a/0", "a/1", "b/2", "b/test/3", "Test/4", "Test/5", "contest/6"):
        put_image(tmp_path / "images" / f"{name}.png")
        put_mask(tmp_path / "masks" / f"{name}.png", 0)
    for share in (0.2, 1.0):
        splits = {image.id: image.split for image in planned(tmp_path, val_share=share).images}
        assert {name for name, split in splits.items() if split == "test"} == {"b/test/3", "Test/4", "Test/5"}
        assert {"train", "val"} == {splits[name] for name in ("a/0", "a/1", "b/2", "contest/6")}


def test_fine_masks_everywhere_leave_nothing_to_label_and_are_valid(tree: Path) -> None:
    for name in ("e", "f"):
        put_mask(tree / "masks" / f"{name}.png", 1)
    (tree / "coarse/e.png").unlink()
    (tree / "coarse").rmdir()
    manifest = build(FolderConfig(source="folder", root=tree), write_many=pytest.fail, jobs=1, quiet=True).manifest
    assert unlabelled_images(manifest) == []


def test_other_folder_names(tree: Path) -> None:
    for old, new in (("images", "raw"), ("masks", "gt/polygons"), ("coarse", "gt/quick"), ("classes.toml", "c.toml")):
        (tree / new).parent.mkdir(exist_ok=True)
        (tree / old).rename(tree / new)
    found = planned(tree, images="raw", masks="gt/polygons", coarse="gt/quick", classes="c.toml")
    assert found.images[0].labels[0].path == "gt/polygons/a.png"
    assert roles(found)["e"] == ["coarse"]


@pytest.mark.parametrize(
    "name", ["-rf *", "two\nlines", "naïve ünïcode 道", "a'b\"c", "con", "x" * 200, "A", "dot.dot"]
)
def test_any_file_name_is_an_id(tree: Path, name: str) -> None:
    put_image(tree / "images" / f"{name}.jpg")
    put_mask(tree / "masks" / f"{name}.png", 2)
    manifest = build(
        FolderConfig(source="folder", root=tree, val_share=0.0), write_many=pytest.fail, jobs=1, quiet=True
    ).manifest
    assert manifest.label(name, "fine").counts == (0, 96, 0)
    assert manifest.from_files(manifest.to_files().__getitem__) == manifest


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names that are no UTF-8")
def test_file_names_that_are_not_text_are_refused(tree: Path) -> None:
    Path(os.fsdecode(os.fsencode(tree / "images") + b"/\xff.jpg")).write_bytes(encoded(ids(), "JPEG"))
    with pytest.raises(DataError, match="is not UTF-8; rename the file") as caught:
        planned(tree)
    str(caught.value).encode()


def test_links_are_followed_and_loops_end(tree: Path) -> None:
    put_image(tree / "disk2" / "g.jpg")
    (tree / "images/linked").symlink_to(tree / "disk2")
    (tree / "disk2/loop").symlink_to(tree / "images")
    assert "linked/g" in roles(planned(tree))
    (tree / "images/gone.jpg").symlink_to(tree / "nowhere.jpg")
    with pytest.raises(DataError, match=r"images/gone\.jpg: cannot be read: No such file"):
        build(FolderConfig(source="folder", root=tree), write_many=pytest.fail, jobs=1, quiet=True)


@pytest.mark.parametrize("folder", ["images", "masks", "classes.toml"])
def test_missing_parts_are_named(tree: Path, folder: str) -> None:
    (tree / folder).rename(tree / "elsewhere")
    with pytest.raises(DataError, match=f"{folder}: (no such folder|cannot be read)"):
        planned(tree)


def test_a_named_coarse_folder_must_exist(tree: Path) -> None:
    with pytest.raises(DataError, match=r"corse: no such folder; put the coarse masks there or correct data\.coarse"):
        planned(tree, coarse="corse")


def test_a_mask_without_its_image_is_named(tree: Path) -> None:
    put_mask(tree / "masks" / "deep" / "D.png", 1)
    with pytest.raises(DataError, match="masks: masks without an image: deep/D; a mask is named as its image"):
        planned(tree)


def test_masks_that_are_not_png_are_refused(tree: Path) -> None:
    put_image(tree / "masks" / "f.jpg")
    with pytest.raises(LabelError, match=r"masks/f\.jpg: is no PNG.* \.jpg compression changes ids"):
        planned(tree)


def test_two_images_of_one_name_are_refused(tree: Path) -> None:
    put_image(tree / "images" / "a.png")
    with pytest.raises(DataError, match=r"'a\.jpg' and 'a\.png' have the same name; keep one"):
        planned(tree)


def test_no_images_and_no_labels_are_refused(tree: Path) -> None:
    for file in [*(tree / "masks").rglob("*.png"), *(tree / "coarse").rglob("*.png")]:
        file.unlink()
    with pytest.raises(DataError, match="no training image has a label"):
        planned(tree)
    for file in [file for file in (tree / "images").rglob("*") if file.is_file()]:
        file.unlink()
    with pytest.raises(DataError, match="holds no image"):
        planned(tree)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": "/tmp"}, "data.images: '/tmp' is absolute; name a folder below data.root"),
        ({"masks": "../masks"}, "data.masks: '../masks' leaves its root"),
        ({"images": "."}, "data.images: '.' has an empty"),
        ({"masks": "images/masks"}, "data.masks: lies inside data.images"),
    ],
)
def test_folders_outside_the_root_or_in_each_other_are_refused(tree: Path, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(tree, **settings)


def test_a_wrong_class_file_is_named_with_its_position(tree: Path) -> None:
    put(tree / "classes.toml", b'names = ["a"]\nids = 3x')
    with pytest.raises(ConfigError, match=r"classes\.toml: not valid TOML: .*line 2, column"):
        planned(tree)


def test_a_palette_mask_is_refused_with_the_remedy(tree: Path) -> None:
    put(tree / "masks" / "a.png", palette_png(ids(1, 2)))
    with pytest.raises(DataError, match=r"masks/a\.png: is a palette mask; set data\.mask_values = \"indices\""):
        build(FolderConfig(source="folder", root=tree), write_many=pytest.fail, jobs=1, quiet=True)


def pairs(found: SourceListing) -> dict[str, str]:
    return {image.path: label.path for image in found.images for label in image.labels}


def test_two_unicode_forms_of_a_name_are_one_word(tree: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    put_image(tree / "images" / f"{decomposed}.png")
    put_mask(tree / "masks" / f"{composed}.png", 1)
    assert pairs(planned(tree))[f"images/{decomposed}.png"] == f"masks/{composed}.png"
    put_image(tree / "images" / f"{composed}.png")
    with pytest.raises(DataError, match="are the same name in two Unicode forms"):
        planned(tree)


def test_a_class_file_with_a_byte_order_mark(tree: Path) -> None:
    put(tree / "classes.toml", b"\xef\xbb\xbf" + (tree / "classes.toml").read_bytes())
    assert planned(tree).classes.names == ("lawn", "path")


def test_colours_must_be_stated(tree: Path) -> None:
    with pytest.raises(ConfigError, match=r"classes\.toml: states no colours.*palette = "):
        planned(tree, mask_values="colours")


def test_results_of_autolabel_are_not_taken_for_images(tree: Path) -> None:
    """A work folder among the images is passed over; a label set is refused, for its overlays look like images."""
    before = planned(tree)
    put(tree / "images" / "work" / "t" / WORK_MARK, b"{}")
    put_image(tree / "images" / "work" / "t" / "artefacts" / "label" / "x" / "data" / "labels" / "a.png", 9)
    put(tree / "images" / "deep" / "classes.json", b'{"names": ["of somebody else"]}')
    put(tree / "images" / "deep" / "er" / "classes.json", b"{damaged")
    assert planned(tree).images == before.images
    classes = ClassSet("own", ("lawn", "path"), ((1, 2, 3), (4, 5, 6)), (1, 2), (0, 255))
    out = tree / "images" / "auto"
    put_image(out / "overlays" / "a.png", 9)
    for where in (out, out / "labels"):  # after a command that was killed, only the second is there
        put(where / "classes.json", Statement(classes, "train").to_json())
        with pytest.raises(DataError, match="holds labels that autolabel wrote, which would be taken for images"):
            planned(tree)
        (where / "classes.json").unlink()
    put(tree / "images" / WORK_MARK, b"{}")
    with pytest.raises(DataError, match="is a work folder"):
        planned(tree)
