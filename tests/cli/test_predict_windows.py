"""`predict` on images that are large: windows by the user's choice or for want of memory, and the limit of pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.predict_call import predict, refused, tiny_weights, write_image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)).save(file)
    return file


def label(out: Path) -> bytes:
    with Image.open(out / "labels" / "photo.png") as image:
        assert image.size == (500, 300)
        return image.tobytes()


def test_windows_that_memory_makes_necessary_are_said_and_recorded(
    weights: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict(weights, photo, "--out", tmp_path / "whole").stderr == ""
    assert json.loads((tmp_path / "whole" / "predictions.json").read_bytes())["windows"] == {}
    monkeypatch.setattr("autolabel.cli.predict_windows.free_memory", lambda: 15_000_000)
    done = predict(weights, photo, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "photo: 500 x 300 at once needs about 0." in done.stderr
    (chosen,) = json.loads((tmp_path / "out" / "predictions.json").read_bytes())["windows"].values()
    assert f"labelled in windows of {chosen[1]} x {chosen[0]}" in done.stderr
    same = ("--window", f"{chosen[0]}x{chosen[1]}")
    assert predict(weights, photo, *same, "--out", tmp_path / "again").stderr == ""
    assert label(tmp_path / "again") == label(tmp_path / "out")
    assert "--details needs the whole image" in predict(weights, photo, "--details", "--out", tmp_path / "d").stderr


def test_a_limit_of_the_process_is_named_before_it_decides(
    weights: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict(weights, photo, "--out", tmp_path / "whole").stderr == ""
    for name, left, said in (("near", 60_000_000, "of the 0.1 GB that ulimit -v leaves"), ("far", 4_000_000_000, "")):
        monkeypatch.setattr("autolabel.hardware._left_by_limits", lambda left=left: {"-v": left, "-d": 2 * left})
        done = predict(weights, photo, "--out", tmp_path / name)
        assert done.exit_code == 0, done.stderr
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == bool(said)
        assert label(tmp_path / name) == label(tmp_path / "whole")


def test_a_window_as_large_as_the_image_changes_nothing(weights: Path, photo: Path, tmp_path: Path) -> None:
    for name, options in {"a": (), "b": ("--window", "300x500"), "c": ("--window", "128x128", "--overlap", 32)}.items():
        assert predict(weights, photo, *options, "--out", tmp_path / name).exit_code == 0
    assert label(tmp_path / "a") == label(tmp_path / "b") != label(tmp_path / "c")
    wrong = predict(weights, photo, "--window", "64x64", "--overlap", 64, "--out", tmp_path / "d")
    assert "not less than both sides" in refused(wrong, 2)


def test_the_limit_of_pixels_is_an_option_that_its_error_names(weights: Path, photo: Path, tmp_path: Path) -> None:
    said = refused(predict(weights, photo, "--max-pixels", 149_999, "--out", tmp_path / "out"), 3)
    assert "150000" not in said
    assert said.rstrip().endswith("shrink it, or raise --max-pixels")
    assert predict(weights, photo, "--max-pixels", 150_000, "--out", tmp_path / "out").exit_code == 0
    assert predict(weights, write_image(tmp_path / "a.png"), "--max-pixels", 99, "--out", tmp_path / "o").exit_code == 0
