"""Videos against the frames they were made of; files that are broken, hostile, or not what they say."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.data.container_length import missing_bytes
from autolabel.data.video import decode_video, expected_frames
from autolabel.errors import ConfigError, ImageError

FRAMES = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
SMOOTH = np.stack([np.full((48, 64, 3), (40 * i, 200, 90), np.uint8) for i in range(5)])
LIMIT = 48 * 64
Encode = Callable[..., bytes]


def frames_of(data: bytes, container: str, *, limit: int = LIMIT) -> list[np.ndarray]:
    return [frame.pixels for frame in decode_video(io.BytesIO(data), container, where="x", max_pixels=limit)]


def test_every_frame_exactly(encode_video: Encode) -> None:
    np.testing.assert_array_equal(np.stack(frames_of(encode_video(FRAMES), "mov")), FRAMES)


@pytest.mark.parametrize(
    ("container", "codec", "reader"),
    [("mp4", "libx264", "mov"), ("mov", "mpeg4", "mov"), ("avi", "mjpeg", "avi"), ("webm", "libvpx-vp9", "matroska")],
)
def test_containers_and_codecs(encode_video: Encode, container: str, codec: str, reader: str) -> None:
    data = encode_video(SMOOTH, container, codec)
    assert expected_frames(io.BytesIO(data), reader, where="x", max_pixels=LIMIT) == len(SMOOTH)
    found = np.stack(frames_of(data, reader)).astype(int)
    assert found.shape == SMOOTH.shape
    assert np.abs(found - SMOOTH).max() < 12
    with pytest.raises(ImageError, match=f"limit of {LIMIT - 1}"):
        expected_frames(io.BytesIO(data), reader, where="x", max_pixels=LIMIT - 1)


def test_it_is_shown_as_a_player_would(encode_video: Encode) -> None:
    """A phone held upright notes a quarter turn clockwise in the track's header (`tkhd`)."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32] = 255  # the corner that comes to lie at the top right
    data = encode_video([image] * 2, "mp4", "libx264")
    upright, turned = ((0x10000, 0, 0, 0, 0x10000), (0, 0x10000, 0, 0xFFFF0000, 0))
    start = data.index(struct.pack(">5I", *upright), data.index(b"tkhd"))
    data = data[:start] + struct.pack(">5I", *turned) + data[start + 20 :]
    frame = frames_of(data, "mov")[0].astype(int)
    assert frame.shape == (64, 48, 3)
    np.testing.assert_allclose(frame, np.rot90(image, -1), atol=60)


def test_a_damaged_frame_is_named_and_those_before_it_are_yielded(encode_video: Encode) -> None:
    data = bytearray(encode_video(FRAMES))
    place = data.rindex(b"IDAT")
    data[place + 200 : place + 220] = bytes(20)
    frames = decode_video(io.BytesIO(bytes(data)), "mov", where="x", max_pixels=LIMIT)
    np.testing.assert_array_equal(np.stack([frame.pixels for frame in islice(frames, 4)]), FRAMES[:4])
    with pytest.raises(ImageError, match=r"x, frame 4: cannot be decoded"):
        next(frames)


_NOISE = np.random.default_rng(1).integers(0, 25, (48, 64))
_TEXTURE = (100 + 80 * np.sin(np.arange(48)[:, None] / 5) * np.cos(np.arange(64) / 9) + _NOISE).astype(np.uint8)
MOVING = np.stack([np.repeat(np.roll(_TEXTURE, 3 * i, 1)[..., None], 3, axis=-1) for i in range(40)])
LAYOUTS = [
    ("mp4", "libx264", "mov", {"bf": "0"}),
    ("mp4", "libx264", "mov", {"bf": "2"}),
    ("mkv", "libx264", "matroska", {"bf": "0"}),
    ("avi", "mpeg4", "avi", {"b": "2000000"}),
]


@pytest.mark.parametrize(("container", "codec", "reader", "options"), LAYOUTS)
def test_frames_after_a_damaged_packet_are_yielded_under_their_numbers(
    encode_video: Encode, container: str, codec: str, reader: str, options: dict[str, str]
) -> None:
    """In groups of ten frames, one damaged packet costs the rest of its group at most."""
    whole = encode_video(MOVING, container, codec, gop=10, **options)
    data = with_damaged_packet(whole, 13, reader)
    found, said = decoded(data, reader)
    expected = frames_of(whole, reader)
    assert len(found) >= 33
    assert {*range(10), *range(20, 40)} <= found.keys()
    assert all(np.array_equal(found[number], expected[number]) for number in (0, 9, 20, 39))
    lost = sorted({*range(40)} - found.keys())
    assert f"x, frame{'s' * (len(lost) > 1)} {lost[0]}" in said
    assert "cannot be decoded" in said


def decoded(data: bytes, reader: str) -> tuple[dict[int, np.ndarray], str]:
    """Frames by number, and the error after them."""
    found = {}
    try:
        for number, pixels in decode_video(io.BytesIO(data), reader, where="x", max_pixels=LIMIT):
            found[number] = pixels
    except ImageError as error:
        return found, str(error)
    return found, ""


def with_damaged_packet(data: bytes, number: int, reader: str) -> bytes:
    """The film with zero bytes in the middle of the largest of three packets."""
    import av

    with av.open(io.BytesIO(data), format=reader) as box:
        packets = list(box.demux(box.streams.video[0]))[number : number + 3]
        raw = max(map(bytes, packets), key=len)  # some packets are too small to be damaged
    at = data.index(raw[4:])  # the first bytes of a packet may be its length
    half = at + (len(raw) - 4) // 2
    return data[:half] + bytes(15) + data[half + 15 :]


def test_a_selection_names_only_its_own_frames(encode_video: Encode) -> None:
    """The damaged packet is one of three, for their sizes depend on the machine that encodes."""
    data = with_damaged_packet(encode_video(MOVING, "mp4", "libx264", gop=10, bf="0"), 13, "mov")
    lost = min({*range(40)} - decoded(data, "mov")[0].keys())
    assert 13 <= lost < 16
    few = decode_video(io.BytesIO(data), "mov", where="x", max_pixels=LIMIT, stop=lost)
    assert [frame.number for frame in few] == [*range(lost)]
    some = decode_video(io.BytesIO(data), "mov", where="x", max_pixels=LIMIT, stop=lost + 2)
    assert [frame.number for frame in islice(some, lost)] == [*range(lost)]
    with pytest.raises(ImageError, match=f"x, frames {lost} to 19: cannot be decoded"):
        next(some)


@pytest.mark.parametrize(("container", "codec", "reader", "options"), LAYOUTS)
@pytest.mark.parametrize("part", [0.5, 0.8, 0.99])
def test_a_film_that_is_cut_short_says_so_after_its_frames(
    encode_video: Encode, container: str, codec: str, reader: str, options: dict[str, str], part: float
) -> None:
    data = encode_video(MOVING, container, codec, index_first=reader == "mov", **options)
    data = data[: int(part * len(data))]
    found, said = decoded(data, reader)
    assert "bytes are missing at its end" in said or "cannot be decoded" in said
    assert max(found) > 40 * part * 0.4


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.sampled_from(["mov", "avi", "matroska"]))
def test_the_length_of_any_bytes(data: bytes, container: str) -> None:
    file = io.BytesIO(data)
    file.seek(3)
    assert missing_bytes(file, container) >= 0
    assert file.tell() == 3


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "png"])
def test_large_frames_are_refused_from_the_header(encode_video: Encode, codec: str) -> None:
    data = encode_video([np.zeros((480, 640, 3), np.uint8)], "mov", codec)
    for limit in (1000, 640 * 480 - 1):
        with pytest.raises(ImageError, match=f"limit of {limit}"):
            expected_frames(io.BytesIO(data), "mov", where="x", max_pixels=limit)


@pytest.mark.parametrize("seed", range(8))
def test_damage_is_one_error(encode_video: Encode, seed: int) -> None:
    rng = np.random.default_rng(seed)
    container, codec, reader = [("mp4", "mpeg4", "mov"), ("avi", "mjpeg", "avi")][seed % 2]
    data = np.frombuffer(encode_video(FRAMES, container, codec), np.uint8).copy()
    data[rng.integers(0, len(data), 8)] = rng.integers(0, 256, 8)
    with suppress(ImageError):
        assert all(frame.shape[0] * frame.shape[1] <= 10**6 for frame in frames_of(data.tobytes(), reader, limit=10**6))


@pytest.mark.parametrize("data", [b"", b"no video", bytes(1000), b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"])
@pytest.mark.parametrize("reader", ["mov", "matroska", "avi"])
def test_what_is_no_video(data: bytes, reader: str) -> None:
    """Among it play lists, which FFmpeg would follow to other files."""
    with pytest.raises(ImageError, match="cannot be read as a video"):
        frames_of(data, reader)


def test_without_pyav_the_way_to_get_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"x\.mp4: a video needs PyAV; pip install 'autolabel-seg\[video\]'"):
        expected_frames(io.BytesIO(b""), "mov", where="x.mp4", max_pixels=1)
