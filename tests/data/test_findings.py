"""Findings on folders of real files: every suspicious pattern is seen, its remedy works, and sound data has none."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.config.sources import FolderConfig
from autolabel.data.build import ScanResult, build, scan
from autolabel.data.near_duplicates import near_duplicates, thumbnail
from autolabel.errors import DataError
from tests.data.image_files import encoded, noise_image, put

NUMBER, HEIGHT, WIDTH = 6, 40, 60
NAMES = ("sky", "house", "road", "car")


def scene(number: int) -> np.ndarray:
    """(H, W) four regions: 0 above, then 1 and 2, and a box of 3."""
    rng = np.random.default_rng(number)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    top, middle = int(rng.integers(12, 18)), int(rng.integers(22, 30))
    mask[top:middle], mask[middle:] = 1, 2
    left = int(rng.integers(0, 40))
    mask[middle : middle + 5, left : left + 12] = 3
    return mask


def tree(
    root: Path,
    change: Callable[[np.ndarray], np.ndarray | bytes] = lambda mask: mask,
    classes: str = "",
    names: tuple[str, ...] = NAMES,
) -> FolderConfig:
    """Six images with masks that `change` makes of the scenes."""
    put(root / "classes.toml", f"names = {list(names)}\n{classes}".encode())
    for number in range(NUMBER):
        put(root / f"images/{number}.png", encoded(noise_image(number, height=HEIGHT, width=WIDTH)))
        changed = change(scene(number))
        put(root / f"masks/{number}.png", changed if isinstance(changed, bytes) else encoded(changed))
    return FolderConfig(source="folder", root=root)


def scanned(config: FolderConfig) -> ScanResult:
    return scan(config, jobs=1, quiet=True)


def built(config: FolderConfig) -> ScanResult:
    return build(config, write_many=lambda files: None, jobs=1, quiet=True)


def codes(found: ScanResult) -> list[tuple[str, str]]:
    return [(finding.level, finding.code) for finding in found.findings]


def test_sound_masks_have_no_finding(tmp_path: Path) -> None:
    found = built(tree(tmp_path))
    assert codes(found) == []
    masks = np.stack([scene(number) for number in range(NUMBER)])
    assert found.survey.rows() == [
        {"value": f"id {k}", "meaning": name, "fraction": float((masks == k).mean()), "masks": NUMBER}
        for k, name in enumerate(NAMES)
    ]


def resized(mask: np.ndarray) -> np.ndarray:
    small = Image.fromarray(mask * 60).resize((23, 17), Image.Resampling.BILINEAR)
    return np.array(small.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))


def through_jpeg(mask: np.ndarray) -> np.ndarray:
    sink = BytesIO()
    Image.fromarray(mask * 60).save(sink, "JPEG", quality=80)
    return np.array(Image.open(sink))


OBJECT = np.uint8(3)
# pattern: change of the masks, class file, code, text of the error, class file that the remedy asks for
WRONG = {
    "ids from 1 to K": (
        lambda m: m + 1,
        "",
        "shifted_ids",
        r"ids from 1 to 4, and the class file counts 4 classes from 0; write ids = \[1, 2, 3, 4\]",
        "ids = [1, 2, 3, 4]",
    ),
    "0 is the background": (
        lambda m: np.where(m > 0, m + 1, (np.arange(WIDTH) > 30).astype(np.uint8)).astype(np.uint8),
        "",
        "shifted_ids",
        r"ids from 0 to 4, one more than the 4 classes: 0 may be the background; write ids = \[1, 2, 3, 4\]",
        "ids = [1, 2, 3, 4]\nignored_ids = [0, 255]",
    ),
    "other ids": (
        lambda m: np.array([7, 11, 23, 26], np.uint8)[m],
        "",
        "unknown_values",
        "6 of 6 masks hold values that no class has: id 7, id 11, id 23, id 26; write them into the class file: ids",
        "ids = [7, 11, 23, 26]",
    ),
    "resized with smoothing": (resized, "ids = [0, 60, 120, 180]", "smoothed_masks", "6 of 6 masks .* borders", None),
    "through JPEG": (through_jpeg, "ids = [0, 60, 120, 180]", "smoothed_masks", "export the masks again", None),
    "half the size": (lambda m: m[::2, ::2], "", "mask_sizes", "another size .* nearest neighbour", None),
    "another aspect": (lambda m: m[:, :-9], "", "mask_sizes", "another aspect ratio than their image", None),
    "all ignored": (lambda m: np.full_like(m, 255), "", "nothing_labelled", r"all pixels are ignored \(id 255\)", None),
}


@pytest.mark.parametrize("pattern", WRONG)
def test_certain_mistakes_end_the_build_without_advice_to_raise_max_bad(tmp_path: Path, pattern: str) -> None:
    change, classes, code, message, remedy = WRONG[pattern]
    config = tree(tmp_path, change, classes)
    assert ("error", code) in codes(scanned(config))
    for limit in (0, 100):  # a limit does not let it pass
        with pytest.raises(DataError, match=message) as caught:
            built(config.model_copy(update={"max_bad": limit}))
        assert "max_bad" not in str(caught.value)
    if remedy is not None:
        assert codes(built(tree(tmp_path, change, remedy))) == []


DOUBTFUL = {
    "0 and 255 under two classes": (
        lambda m: (m == OBJECT).astype(np.uint8) * 255,
        "",
        ("background", "car"),
        "binary_masks",
        r"only 0 \(9\d\.\d %\) and 255 \(.*255 means no class.*no pixel of car.*write ids = \[0, 255\]",
        "ids = [0, 255]",
    ),
    "no id of the first class": (
        lambda m: np.where(m == 0, 1, m).astype(np.uint8),
        "",
        NAMES,
        "shifted_ids",
        "no mask has the first class 'sky': the ids may count from 1",
        None,
    ),
    "a class of nothing": (
        lambda m: m,
        "",
        ("void", "house", "road", "car"),
        "void_class",
        r"class 'void' \(\d+\.\d % of the pixels\) is trained.*drop = \[\"void\"\]",
        'drop = ["void"]',
    ),
    "mostly ignored": (
        lambda m: np.where(m == OBJECT, 1, 9).astype(np.uint8),
        "ids = [1]\nignored_ids = [9]",
        ("car",),
        "mostly_ignored",
        r"id 9 means \"no class\" and covers 9\d\.\d %",
        None,
    ),
}


@pytest.mark.parametrize("pattern", DOUBTFUL)
def test_doubts_end_the_build_until_they_are_confirmed(tmp_path: Path, pattern: str) -> None:
    change, classes, names, code, message, remedy = DOUBTFUL[pattern]
    config = tree(tmp_path, change, classes, names)
    assert ("doubt", code) in codes(scanned(config))
    with pytest.raises(DataError, match=message) as caught:
        built(config)
    assert f'set data.confirmed = ["{code}"]' in str(caught.value)
    confirmed = built(config.model_copy(update={"confirmed": (code,)}))
    assert ("note", code) in codes(confirmed)
    assert all(level == "note" for level, _ in codes(confirmed))
    if remedy is not None:
        assert code not in [found for _, found in codes(built(tree(tmp_path, change, remedy, names)))]


def test_the_first_of_three_classes_as_the_background(tmp_path: Path) -> None:
    """Masks of 0 = outside, 1 = car, 2 = road under three names without a background."""
    change = {0: 0, 1: 0, 2: 1, 3: 1}
    config = tree(tmp_path, lambda m: np.vectorize(change.get)(m).astype(np.uint8), "", ("car", "road", "tree"))
    with pytest.raises(DataError, match=r"no mask has the last class 'tree', and id 0 \('car'\) covers \d+\.\d %"):
        built(config)


def test_smoothing_over_legal_ids_is_a_doubt(tmp_path: Path) -> None:
    """With 181 classes every value between two ids is a class: nothing but the shape of its regions tells."""
    names = tuple(f"c{k}" for k in range(181))
    found = scanned(tree(tmp_path, resized, "", names))
    assert ("doubt", "smoothed_masks") in codes(found)
    assert ("doubt", "smoothed_masks") not in codes(scanned(tree(tmp_path, lambda m: m * 60, "", names)))


def test_one_faulty_mask_is_quarantined_as_before(tmp_path: Path) -> None:
    config = tree(tmp_path)
    put(tmp_path / "masks/3.png", encoded(scene(3) + np.uint8(9)))
    with pytest.raises(DataError, match=r"cannot be used: 1, .*raise data\.max_bad"):
        built(config)
    assert len(built(config.model_copy(update={"max_bad": 1})).quarantined) == 1


def test_colour_masks_for_ids_are_one_mistake(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (4, 3), dtype=np.uint8)
    with pytest.raises(DataError, match=r"set data\.mask_values = .colours.*most images have this fault") as caught:
        built(tree(tmp_path, lambda m: colours[m]))
    assert "max_bad allows" in str(caught.value)
    assert "raise data.max_bad" not in str(caught.value)


def test_classes_without_a_pixel_are_named(tmp_path: Path) -> None:
    found = built(tree(tmp_path, names=(*NAMES, "tram", "boat")))
    assert codes(found) == [("note", "missing_classes")]
    assert str(found.findings[0]) == "no mask has a pixel of: tram, boat"


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 60}), ("PNG", {}), ("WEBP", {"quality": 80})])
def test_near_duplicates_across_the_splits(tmp_path: Path, kind: str, options: dict) -> None:
    """The same photograph in another format, half the size and a little darker."""
    put(tmp_path / "classes.toml", b'names = ["x"]')
    for number in range(8):
        photo = photograph(number)
        put(tmp_path / f"images/train/{number}.png", encoded(photo))
        half = Image.fromarray(photo).resize((128, 96), Image.Resampling.BILINEAR)
        other = np.array(half) * 0.9 if number == 5 else photograph(number + 100)
        put(tmp_path / f"images/val/{number}.png", encoded(other.astype(np.uint8), kind, **options))
        for split, array in (("train", photo), ("val", other)):
            put(tmp_path / f"masks/{split}/{number}.png", encoded(np.zeros(array.shape[:2], np.uint8)))
    [finding] = built(FolderConfig(source="folder", root=tmp_path)).findings
    assert (finding.code, finding.level) == ("near_duplicates", "note")
    assert "1 of 8 validation images" in finding.what
    assert "images/val/5.png and images/train/5.png" in finding.what


def photograph(number: int) -> np.ndarray:
    """Smooth shapes, as a photograph has them."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(30, 220, (6, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((256, 192), Image.Resampling.BICUBIC))


def test_near_duplicates_against_a_loop() -> None:
    photos = [photograph(k) for k in range(40)]
    one = [thumbnail(photo) for photo in photos]
    other = [thumbnail(np.clip(photo.astype(int) + 3, 0, 255).astype(np.uint8)) for photo in photos[::3]]
    assert near_duplicates(one, other) == [(3 * k, k) for k in range(len(other))]
    plain = [thumbnail(np.full((9, 9, 3), value, np.uint8)) for value in (10, 11)]
    assert near_duplicates(plain, plain) == []
    assert near_duplicates([], one) == near_duplicates(one, []) == []


def test_near_duplicates_in_blocks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    other = [photograph(k) for k in range(11)]
    one = [thumbnail(other[k]) for k in (10, 0, 7, 3, 4)] + [bytes(rng.integers(0, 256, 256, np.uint8))]
    other = [thumbnail(photo) for photo in other]
    monkeypatch.setattr("autolabel.data.near_duplicates._BLOCK", 4)
    assert near_duplicates(one, other) == [(0, 10), (1, 0), (2, 7), (3, 3), (4, 4)]


def test_memory_for_near_duplicates_does_not_grow_with_the_images() -> None:
    thumbnails = [bytes([k % 256]) * 128 + bytes([k // 256]) * 128 for k in range(8192)]
    tracemalloc.start()
    near_duplicates(thumbnails[:4], thumbnails)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8192 * 256 * 8  # all of them as float64
