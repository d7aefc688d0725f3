"""Arrays of foreign networks: layouts, class maps, concepts that compete for pixels, and hostile files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from autolabel.errors import ImageError
from autolabel.inference.foreign import (
    ArrayFormat,
    ChannelMap,
    codes_of,
    concept_probabilities,
    oriented,
    probabilities_of,
    read_arrays,
)
from autolabel.labels.codebook import Codebook

THREE = ChannelMap((0, 1, 2), 3)
GENERATOR = np.random.default_rng(0)


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [((3, 4, 5), None, "CHW"), ((4, 5, 3), None, "HWC"), ((3, 8, 10), "CHW", "CHW"), ((3, 3, 3), "HWC", "HWC")],
)
def test_a_layout_that_is_clear(shape: tuple[int, ...], layout: str | None, expected: str) -> None:
    size = (3, 3) if shape == (3, 3, 3) else (4, 5)
    assert oriented(shape, 3, size, layout, "x") == expected


@pytest.mark.parametrize(
    ("shape", "size", "said"),
    [
        ((3, 3, 3), (3, 3), "say which axis holds the classes"),
        ((3, 8, 10), (4, 5), "say which axis holds the classes"),  # another size: perhaps turned
        ((3, 5, 4), (4, 5), "say which axis holds the classes"),
        ((4, 4, 5), (4, 5), "check teacher.foreign.classes"),
        ((12, 5), (4, 5), "check teacher.foreign.classes"),
    ],
)
def test_a_layout_is_never_guessed(shape: tuple[int, ...], size: tuple[int, int], said: str) -> None:
    with pytest.raises(ImageError) as caught:
        oriented(shape, 3, size, None, "x")
    assert said in str(caught.value)


def test_logits_against_numpy() -> None:
    logits = GENERATOR.normal(0, 3, (4, 6, 7)).astype(np.float32)
    channels = ChannelMap((1, 0, 3, 1), 3)  # two channels are one class, one is none
    found = probabilities_of(logits, "logits", channels, (6, 7), "CHW", "x").numpy()
    exp = np.exp(logits.astype(np.float64))
    p = exp / exp.sum(axis=0)
    assert found == pytest.approx(np.stack([p[1], p[0] + p[3], np.zeros((6, 7)), p[2]]), abs=1e-6)
    same = probabilities_of(p.astype(np.float32), "probabilities", channels, (6, 7), "CHW", "x").numpy()
    assert same == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("values", ["probabilities", "logits"])
@pytest.mark.parametrize("write", [np.save, np.savez, np.savez_compressed])
def test_every_kind_of_file_gives_the_same_probabilities(
    layout: str, dtype: type, values: str, write: Callable[..., None]
) -> None:
    logits = GENERATOR.normal(0, 2, (3, 5, 6))
    wanted = np.exp(logits) / np.exp(logits).sum(axis=0)
    stored = (wanted if values == "probabilities" else logits).astype(dtype)
    file = io.BytesIO()
    write(file, stored if layout == "CHW" else np.moveaxis(stored, 0, 2))
    tolerance = 3e-3 if dtype == np.float16 else 1e-6
    for stated in (None, layout):
        found = ArrayFormat(values, stated, THREE).probabilities(file.getvalue(), (5, 6), "x")
        assert found[:3].numpy() == pytest.approx(wanted, abs=tolerance)
        assert found[3].abs().max() < tolerance


def test_concepts_compete_by_score_and_unclaimed_pixels_are_unsure() -> None:
    masks = np.zeros((3, 1, 4), np.float32)
    masks[0, 0, :2] = 1  # class 0, score 0.9: pixels 0 and 1
    masks[1, 0, 1:3] = 1  # class 1, score 0.6: pixels 1 and 2
    masks[2, 0, 0] = 1  # class 0 again, weaker: adds nothing
    scores, classes = np.array([0.9, 0.6, 0.3]), np.array([0, 1, 0])
    found = concept_probabilities(masks, scores, classes, THREE, (1, 4))
    expected = [[0.9, 0.6, 0.0, 0.0], [0.0, 0.4, 0.6, 0.0], [0, 0, 0, 0], [0.1, 0.0, 0.4, 1.0]]
    assert found[:, 0].numpy() == pytest.approx(np.array(expected), abs=1e-6)
    book = Codebook(3, (0.5, 0.7))
    assert book.lut(0.7)[codes_of(found, book)].tolist() == [[0, 255, 255, 255]]
    assert book.lut(0.0)[codes_of(found, book)].tolist() == [[0, 0, 1, 255]]


def test_concepts_of_a_file() -> None:
    layout = ArrayFormat("concepts", None, THREE)
    masks = np.ones((1, 2, 2), bool)
    found = layout.probabilities(npz(masks=masks, scores=np.array([0.8]), classes=np.array([2])), (2, 2), "x")
    assert found[2].numpy() == pytest.approx(np.full((2, 2), 0.8), abs=1e-6)
    empty = npz(masks=masks[:0], scores=np.zeros(0), classes=np.zeros(0, int))
    assert layout.probabilities(empty, (2, 2), "x")[3].min() == 1
    nothing = npz(masks=np.array([]), scores=np.array([]), classes=np.array([]))
    assert layout.probabilities(nothing, (2, 2), "x")[3].min() == 1
    for said, arrays in {
        "has no array scores": {"masks": masks, "classes": np.array([0])},
        "do not belong together": {"masks": masks, "scores": np.ones(2), "classes": np.array([0])},
        "are not from 0 to 1": {"masks": masks, "scores": np.array([1.5]), "classes": np.array([0])},
        "classes are not numbers": {"masks": masks, "scores": np.array([0.5]), "classes": np.array([3])},
    }.items():
        with pytest.raises(ImageError, match=said):
            layout.probabilities(npz(**arrays), (2, 2), "x")


def test_maps_that_are_smaller() -> None:
    layout = ArrayFormat("logits", "HWC", THREE)
    small = GENERATOR.normal(0, 1, (4, 6, 3)).astype(np.float16)
    assert layout.probabilities(npz(logits=small, other=small), (16, 24), "x").shape == (4, 16, 24)
    with pytest.raises(ImageError, match="the image's size, or smaller by one factor"):
        layout.probabilities(npz(a=small), (24, 16), "x")
    with pytest.raises(ImageError, match="none of the name 'logits'"):
        layout.probabilities(npz(a=small, b=small), (4, 6), "x")
    with pytest.raises(ImageError, match="holds int64 numbers"):
        layout.probabilities(npz(logits=small.astype(np.int64)), (4, 6), "x")
    with pytest.raises(ImageError, match="not finite"):
        layout.probabilities(npz(logits=np.full_like(small, np.nan)), (4, 6), "x")
    with pytest.raises(ImageError, match="no probabilities"):
        ArrayFormat("probabilities", "HWC", THREE).probabilities(npz(a=small), (4, 6), "x")


def bomb() -> bytes:
    """A zip that claims a small file and inflates to 64 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\x93NUMPY" + b"\0" * 64_000_000)
    return file.getvalue()


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object))
    return file.getvalue()


def claims(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": "<f4"})
    return file.getvalue()


HOSTILE = {
    "empty": b"",
    "text": b"no array",
    "torn zip": npz(a=np.zeros(3))[:60],
    "pickled": pickled(),
    "huge claim": claims((2**40, 2**20)),
    "short": claims((8, 8)),
    "negative": claims((-1, 4)),
    "bomb": bomb(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_in_one_line(name: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_arrays(HOSTILE[name], "x", 1_000_000)
    assert len(str(caught.value).splitlines()) == 1
