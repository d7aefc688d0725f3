"""`predict` on videos, animations and folders of frames."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.predict_call import predict, refused, results, tiny_weights, write_image

pytestmark = pytest.mark.slow

FRAMES = np.random.default_rng(0).integers(0, 256, (7, 40, 56, 3), dtype=np.uint8)
Encode = Callable[..., bytes]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def video(encode_video: Encode, tmp_path: Path) -> Path:
    file = tmp_path / "drive.MOV"
    file.write_bytes(encode_video(FRAMES))
    return file


def label(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def test_every_frame_gets_what_an_image_gets(weights: Path, video: Path, tmp_path: Path) -> None:
    assert predict(weights, video, "--every", 3, "--out", tmp_path / "out").exit_code == 0
    names = {f"{kind}/drive_frames/{n:06}.png" for n in (0, 3, 6) for kind in ("labels", "overlays")}
    assert results(tmp_path / "out") == names
    still = tmp_path / "still.png"
    Image.fromarray(FRAMES[3]).save(still)
    assert predict(weights, still, "--out", tmp_path / "out").exit_code == 0
    expected = label(tmp_path / "out" / "labels" / "still.png")
    np.testing.assert_array_equal(label(tmp_path / "out" / "labels" / "drive_frames" / "000003.png"), expected)
    rows = (tmp_path / "out" / "labels" / "labels.csv").read_text().splitlines()
    paths = ["drive_frames/000000.png", "drive_frames/000003.png", "drive_frames/000006.png", "still.png"]
    assert [row.split(",")[1] for row in rows] == ["label", *paths], "the table grows"


def test_an_animation_of_the_overlays_in_order(weights: Path, video: Path, tmp_path: Path) -> None:
    options = ["--every", 2, "--max-frames", 3, "--animate", "--fps", 4, "--width", 28, "--json"]
    files = [tmp_path / out / "animation.webp" for out in ("a", "b")]
    for file in files:
        result = predict(weights, video, *options, "--out", file.parent)
        assert json.loads(result.stdout)["animation"] == str(file)
        assert json.loads(result.stdout)["images"] == 3
    assert files[0].read_bytes() == files[1].read_bytes()
    with Image.open(files[0]) as animation:
        assert (animation.n_frames, animation.size) == (3, (28, 20))
        for number in range(3):
            animation.seek(number)
            with Image.open(files[0].parent / "overlays" / "drive_frames" / f"{2 * number:06}.png") as overlay:
                expected = np.asarray(overlay.resize((28, 20), Image.Resampling.BOX)).astype(int)
            assert np.abs(np.asarray(animation.convert("RGB")) - expected).mean() < 16
            assert animation.info["duration"] == 250


def test_a_folder_of_frames_is_a_film_too(weights: Path, tmp_path: Path) -> None:
    for number in range(5):
        write_image(tmp_path / "in" / f"f{number}.png")
    options = ["--every", 2, "--max-frames", 2, "--animate"]
    assert predict(weights, tmp_path / "in", *options, "--out", tmp_path / "out").exit_code == 0
    names = {f"{kind}/f{n}.png" for n in (0, 2) for kind in ("labels", "overlays")}
    assert results(tmp_path / "out") == {*names, "animation.webp"}


def test_an_animation_is_read_as_frames(weights: Path, tmp_path: Path) -> None:
    first, *rest = [Image.fromarray(frame) for frame in FRAMES]
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest)
    first.save(tmp_path / "b.gif")
    out = tmp_path / "out"
    assert predict(weights, tmp_path / "a.gif", tmp_path / "b.gif", "--out", out).exit_code == 0
    names = {"b", *(f"a_frames/{number:06}" for number in range(len(FRAMES)))}
    assert results(out) == {f"{kind}/{name}.png" for kind in ("labels", "overlays") for name in names}


def test_what_is_damaged_is_left_there_and_the_rest_done(weights: Path, video: Path, tmp_path: Path) -> None:
    data = bytearray(video.read_bytes())
    place = data.rindex(b"IDAT")
    data[place + 50 : place + 70] = bytes(20)
    video.write_bytes(data)
    good, bad, out = write_image(tmp_path / "z.png"), tmp_path / "bad.png", tmp_path / "out"
    bad.write_bytes(good.read_bytes()[:60])
    result = predict(weights, bad, video, good, "--animate", "--json", "--out", out)
    assert result.exit_code == 5
    said = result.stderr.splitlines()
    assert [line.split(":")[1].strip().split("/")[-1] for line in said] == ["bad.png", "drive.MOV, frame 6", "out"]
    found = json.loads(result.stdout)
    assert (found["images"], len(found["failed"])) == (7, 2)
    assert all(label(Path(file)).shape[:2] in ((40, 56), (9, 11)) for file in found["files"])
    with Image.open(out / "animation.webp") as animation:
        assert animation.n_frames == 7


def test_nothing_is_written_of_what_cannot_be_used_at_all(weights: Path, tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.png", tmp_path / "out"
    bad.write_bytes(b"no picture")
    assert "bad.png: is no PNG" in refused(predict(weights, bad, "--animate", "--out", out), 3)
    film = tmp_path / "bad.mp4"
    film.write_bytes(b"#EXTM3U\nother.mp4\n")
    said = refused(predict(weights, write_image(tmp_path / "a.png"), film, "--out", out), 3)
    assert "bad.mp4: cannot be read as a video" in said, "before the first picture"
    assert not out.exists()


def test_no_frame_meets_another_files_results(weights: Path, video: Path, tmp_path: Path) -> None:
    """Two videos of one name, an image called as a frame is, and results of an earlier run among what is read."""
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "drive.mp4"
    twin.write_bytes(video.read_bytes())
    named = write_image(tmp_path / "drive_frames.png")
    out = tmp_path / "out"
    result = predict(weights, video, twin, named, "--max-frames", 1, "--json", "--out", out)
    files = json.loads(result.stdout)["files"]
    assert len(set(files)) == len(files) == 6
    frame = next(Path(file) for file in files if file.endswith("000000.png") and "/overlays/" in file)
    assert predict(weights, frame, "--out", out).exit_code == 0
    assert "would be replaced" in refused(predict(weights, out / "overlays" / "000000.png", "--out", out), 2)


def test_a_sheet_for_every_image(weights: Path, tmp_path: Path) -> None:
    still, out = write_image(tmp_path / "a.png"), tmp_path / "out"
    assert predict(weights, still, "--details", "--out", out).exit_code == 0
    kinds = ("labels", "overlays", "sheets", "scale1", "attention1")
    assert results(out) == {f"{kind}/a.png" for kind in kinds}
    with Image.open(io.BytesIO((out / "sheets" / "a.png").read_bytes())) as sheet:
        assert sheet.size[0] > 2 * 11
