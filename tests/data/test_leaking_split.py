"""Splits that part a film are found; drives, and numbered images that are no film, are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.config.sources import FolderConfig
from autolabel.data.findings import raise_findings
from autolabel.data.leaking_split import film_place, frames_beside
from autolabel.data.near_duplicates import distances, thumbnail
from autolabel.errors import DataError
from tests.data.image_files import encoded, put
from tests.data.test_findings import scanned

NUMBER = 12
CAMVID = Path("../shared/camvid")


def street(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (3, 40, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((1280, 96), Image.Resampling.BICUBIC))


def film(seed: int) -> list[np.ndarray]:
    """Frames (96, 128) of a camera that turns by 10 pixels from one to the next."""
    return [street(seed)[:, 10 * n : 10 * n + 128] for n in range(NUMBER)]


def strangers(seed: int) -> list[np.ndarray]:
    return [street(100 * (seed + 1) + n)[:, :128] for n in range(NUMBER)]


def data(root: Path, drives: dict[str, tuple[list[np.ndarray], list[int]]], *, told: bool = True) -> FolderConfig:
    """Images and masks of drives; `drives` names the frames of each, and those that validate."""
    put(root / "classes.toml", b'names = ["x"]')
    for drive, (images, val) in drives.items():
        for n, image in enumerate(images):
            split = ("val/" if n in val else "train/") if told else ""
            put(root / f"images/{split}{drive}_{30 * n:06}.png", encoded(image))
            put(root / f"masks/{split}{drive}_{30 * n:06}.png", encoded(np.zeros(image.shape[:2], np.uint8)))
    return FolderConfig(source="folder", root=root, val_share=0.25)


def levels(config: FolderConfig) -> list[str]:
    return [finding.level for finding in scanned(config).findings if finding.code == "leaking_split"]


EVERY_FOURTH = list(range(1, NUMBER, 4))


def test_a_film_that_is_parted(tmp_path: Path) -> None:
    config = data(tmp_path, {"a": (film(0), EVERY_FOURTH), "b": (film(1), EVERY_FOURTH)})
    with pytest.raises(DataError, match=r"6 of 6 validation images are frames beside.*whole drives") as caught:
        raise_findings(scanned(config).findings)
    assert 'data.confirmed = ["leaking_split"]' in str(caught.value)
    assert "images/val/a_000030.png and images/train/a_0000" in str(caught.value)
    confirmed = config.model_copy(update={"confirmed": ("leaking_split",)})
    assert levels(confirmed) == ["note"]


def test_a_drawn_split_is_a_note(tmp_path: Path) -> None:
    assert levels(data(tmp_path, {"a": (film(0), []), "b": (film(1), [])}, told=False)) == ["note"]


@pytest.mark.parametrize(
    "drives",
    [
        {"a": (film(0), []), "b": (film(1), list(range(NUMBER)))},  # a whole drive validates
        {"a": (film(0), list(range(9, NUMBER))), "b": (film(1), list(range(NUMBER)))},  # one cut in a drive
        {"a": (strangers(0), EVERY_FOURTH), "b": (strangers(1), EVERY_FOURTH)},  # numbers alone
    ],
)
def test_what_is_no_leak(tmp_path: Path, drives: dict) -> None:
    assert levels(data(tmp_path, drives)) == []


def test_places() -> None:
    assert film_place("cam/a_12_0030.x.png") == ("cam/a_12_#.x", 30)
    assert film_place("0001TP_006690") == film_place("0001TP_006690.jpg") == ("0001TP_#", 6690)
    assert film_place("img.png") is None
    assert film_place(f"{'9' * 400}.png") is not None  # a hostile name


def test_distances_against_a_loop() -> None:
    images = [thumbnail(street(n)) for n in range(5)] + [thumbnail(np.zeros((9, 9, 3), np.uint8))]
    found = distances(images, images[:3])
    for i, one in enumerate(images[:5]):
        for k, other in enumerate(images[:3]):
            grey = [np.frombuffer(x, np.uint8).astype(float) for x in (one, other)]
            a, b = ((x - x.mean()) / x.std() for x in grey)
            assert found[i, k] == pytest.approx(np.sqrt(np.mean((a - b) ** 2)), abs=1e-6)
    assert (found[5] == 2).all()


@pytest.mark.slow
@pytest.mark.skipif(not CAMVID.is_dir(), reason="needs CamVid in ../shared/camvid")
def test_camvid() -> None:
    """Its own validation block has a cut at each end; frames drawn at random stand beside training frames."""

    def small(split: str) -> list[tuple[str, bytes]]:
        files = sorted((CAMVID / split).iterdir())
        return [(f"{split}/{file.name}", thumbnail(np.array(Image.open(file).convert("RGB")))) for file in files]

    train, val = small("train"), small("val")
    assert frames_beside(val, train) == []
    chosen = set(np.random.default_rng(0).permutation(len(train))[:60].tolist())
    parts = [[image for n, image in enumerate(train) if (n in chosen) == own] for own in (True, False)]
    assert len(frames_beside(*parts)) > 40


@pytest.mark.parametrize(
    ("path", "film", "number"),
    [
        ("a/drive1_000120.png", "a/drive1_#", 120),
        ("frankfurt_000000_000294_leftImg8bit.png", "frankfurt_000000_#_leftImg8bit", 294),
        ("f_000294_1024x512.png", "f_#_1024x512", 294),
        ("frame12.png", "frame#", 12),
    ],
)
def test_the_place_is_the_last_number_that_stands_alone(path: str, film: str, number: int) -> None:
    assert film_place(path) == (film, number)


def test_folders_of_any_split_do_not_part_a_film() -> None:
    images = [thumbnail(frame) for frame in film(3)]
    others = [(f"training/z{n}.png", thumbnail(image)) for n, image in enumerate(strangers(5))]
    train = [(f"training/d_{n}.png", small) for n, small in enumerate(images) if n != 6]
    assert [v for v, _ in frames_beside([("Validation/d_6.png", images[6])], [*train, *others])] == [0]
