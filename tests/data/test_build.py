"""The build: one unusable file is put in quarantine or ends it; fingerprints follow content and nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config

from autolabel.config.sources import FolderConfig
from autolabel.data.build import ScanResult, build
from autolabel.data.loaders import load_image, load_label
from autolabel.data.sources.registry import fingerprint
from autolabel.errors import DataError
from autolabel.store import InputDigests
from tests.data.image_files import encoded, header_only_png, ids, noise_image, palette_png, put, put_image, put_mask


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    put(root / "classes.toml", b'names = ["lawn", "path"]')
    for number in range(6):
        put_image(root / "images" / f"{number}.png", number)
        put_mask(root / "masks" / f"{number}.png", 0, 1, 255)
    return root


def settings(root: Path, **change: object) -> FolderConfig:
    return FolderConfig(source="folder", root=root, val_share=0.0, **change)


def made(root: Path, **change: object) -> ScanResult:
    return build(settings(root, **change), write_many=pytest.fail, jobs=2, quiet=True)


def test_rows_hold_what_the_files_hold(tree: Path) -> None:
    manifest = made(tree).manifest
    for number, row in enumerate(manifest.images):
        data = (tree / row.path).read_bytes()
        assert (row.sha256, row.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert (row.width, row.height, row.split) == (12, 8, "train")
        np.testing.assert_array_equal(load_image(row, {"source": tree}), noise_image(number))
        label = manifest.label(row.id, "fine")
        found = load_label(label, {"source": tree}, manifest.classes)
        assert label.counts == tuple(int((found == value).sum()) for value in (0, 1, 255)) == (32, 32, 32)
        assert label.provenance == "folder"


FAULTS = {
    "cannot be decoded": ("images/1.png", encoded(noise_image(1))[:-20]),
    "is an empty file": ("images/1.png", b""),
    "is no PNG, JPEG": ("images/1.png", b"<html>404</html>"),
    "30000 x 30000 pixels are more than the limit of 64000000": ("images/1.png", header_only_png(30_000, 30_000)),
    "no agreed range": ("images/1.png", encoded(ids(1).astype(np.uint16))),
    "is 12 x 9, its image images/1.png is 12 x 8": ("masks/1.png", encoded(ids(0, height=9))),
    "is 8 x 12, its image": ("masks/1.png", encoded(ids(0, height=12, width=8))),
    r"id 2, 7 \(first at row 0, column 1\) is not in 'folder'": ("masks/1.png", encoded(ids(0, 2, 7))),
    "is a colour mask; set data.mask_values = .colours.": ("masks/1.png", encoded(noise_image(1))),
    r"id 700 \(first at row 0, column 0\) is not in": ("masks/1.png", encoded(ids(1).astype(np.uint16) * 700)),
    "is a palette mask; set data.mask_values = .indices.": ("masks/1.png", palette_png(ids(1))),
    "masks/1.png: is a JPEG of a lossy kind": ("masks/1.png", encoded(ids(1), "JPEG")),
    "masks/1.png: cannot be decoded": ("masks/1.png", encoded(ids(1))[:-14]),
}


@pytest.mark.parametrize("message", FAULTS)
def test_an_unusable_file_is_quarantined_with_its_reason_or_ends_the_build(tree: Path, message: str) -> None:
    name, data = FAULTS[message]
    put(tree / name, data)
    with pytest.raises(DataError, match=f"cannot be used: 1, but data.max_bad allows 0; first: .*{message}"):
        made(tree)
    built = made(tree, max_bad=1)
    assert [row.id for row in built.manifest.images] == ["0", "2", "3", "4", "5"]
    assert {row.image_id for row in built.manifest.labels} == {"0", "2", "3", "4", "5"}
    [(image_id, path, reason)] = built.quarantined
    assert (image_id, path) == ("1", "images/1.png")
    assert reason.startswith(f"{name}: ")  # relative: the reason is the same on another machine


def test_a_file_that_vanishes_is_quarantined(tree: Path) -> None:
    (tree / "images/7.png").symlink_to("nothing.png")
    reason = "images/7.png: cannot be read: No such file or directory"
    assert made(tree, max_bad=1).quarantined == (("7", "images/7.png", reason),)


def test_more_than_max_bad_end_the_build_with_the_first_named(tree: Path) -> None:
    for number in (1, 3, 4):
        put(tree / f"images/{number}.png", b"")
    with pytest.raises(DataError, match=r"used: 3, .* allows 2; first: images/1\.png.* \| images/3\.png.* \| images/4"):
        made(tree, max_bad=2)
    assert len(made(tree, max_bad=3).manifest.images) == 3


def test_a_wholly_wrong_source_is_refused_early(tree: Path) -> None:
    for number in range(60):
        put(tree / "images" / f"x{number:02}.png", b"")
    with pytest.raises(DataError, match="cannot be used: 11 or more"):
        made(tree)


def test_jobs_and_back_ends_change_nothing(tree: Path) -> None:
    put(tree / "images/1.png", b"")
    built = made(tree, max_bad=1)
    assert build(settings(tree, max_bad=1), write_many=pytest.fail, jobs=1, quiet=True) == built
    with parallel_config("loky"):
        assert build(settings(tree, max_bad=1), write_many=pytest.fail, jobs=2, quiet=True) == built


def test_fingerprint_follows_content_only(tree: Path, tmp_path: Path) -> None:
    before = fingerprint(settings(tree), InputDigests())
    shutil.copytree(tree, tmp_path / "copy")
    assert fingerprint(settings(tmp_path / "copy"), InputDigests()) == before  # another place, other times
    os.utime(tree / "images/0.png", (1, 1))
    put(tree / "images/notes.txt", b"not an image")
    assert fingerprint(settings(tree), InputDigests()) == before


def test_fingerprint_notices_every_change_of_what_is_planned(tree: Path) -> None:
    seen = {
        fingerprint(settings(tree), InputDigests()),
        fingerprint(settings(tree).model_copy(update={"val_share": 0.5}), InputDigests()),
    }
    changes = [
        lambda: put(tree / "images/0.png", encoded(noise_image(0)) + b"\0"),
        lambda: (tree / "masks/2.png").unlink(),
        lambda: put_image(tree / "images/9.png"),
        lambda: put(tree / "classes.toml", b'names = ["lawn", "road"]'),
        lambda: (tree / "images/9.png").rename(tree / "images/8.png"),
    ]
    for number, change in enumerate(changes, 3):
        change()
        seen.add(fingerprint(settings(tree), InputDigests()))
        assert len(seen) == number


def test_progress_goes_to_stderr_and_quiet_is_quiet(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(settings(tree), write_many=pytest.fail, jobs=1, quiet=False)
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "manifest: 6/6 image" in streams.err
    made(tree)
    assert capsys.readouterr().err == ""


def test_a_tree_of_unusable_files_is_refused_early_and_in_silence(
    tree: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(40):
        put(tree / "images" / f"bad{number}.png", b"no image")
    with pytest.raises(DataError, match="11 or more, but"):
        made(tree)
    assert capfd.readouterr().err == ""
