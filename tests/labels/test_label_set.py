"""The table, the legend and the statement of ids of a label set."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autolabel.classes import CLASS_SETS, IGNORE, ClassSet
from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook
from autolabel.labels.label_set import (
    LabelIds,
    LabelSummary,
    Statement,
    describe,
    images_of_labels,
    merge_tables,
    read_statement,
    write_table,
)
from autolabel.labels.legend import legend
from autolabel.labels.threshold import mean_confidence

CLASSES = ClassSet("toy", ("road", "a, b", 'c"d'), ((9, 9, 9), (1, 2, 3), (4, 5, 6)), (7, 2, 0), (255, 9))
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12)


@pytest.mark.parametrize("label_ids", ["train", "dataset"])
def test_the_statement_says_what_each_value_means(label_ids: LabelIds) -> None:
    statement = Statement(CLASSES, label_ids)
    table = json.loads(statement.to_json())
    labels = np.array([[0, 1, 2, 255]], np.uint8)
    expected = {"train": [[0, 1, 2, 255]], "dataset": [[7, 2, 0, 255]]}[label_ids]
    np.testing.assert_array_equal(statement.values()[labels], expected)
    assert [*table["values"], table["ignore"]] == expected[0]
    assert read_statement(statement.to_json(), "x") == statement


@pytest.mark.parametrize("classes", CLASS_SETS.values(), ids=CLASS_SETS)
@pytest.mark.parametrize("label_ids", ["train", "dataset"])
def test_statements_of_known_data_sets_come_back(classes: ClassSet, label_ids: LabelIds) -> None:
    statement = Statement(classes, label_ids)
    back = read_statement(statement.to_json(), "x")
    assert back == statement
    values = statement.values()
    assert len({*values[: classes.num_classes]}) == classes.num_classes
    assert values[IGNORE] in statement.ignored()


@pytest.mark.parametrize(
    "data", [b"{}", b"[]", b'"x"', b"null", b'{"labels": []}', json.dumps(CLASSES.to_dict()).encode()]
)
def test_a_file_of_another_program_states_nothing(data: bytes) -> None:
    assert read_statement(data, "classes.json") is None


def changed(**change: object) -> bytes:
    return json.dumps({**json.loads(Statement(CLASSES, "train").to_json()), **change}).encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is not valid JSON"),
        (b"", "; put the original back, or remove it"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (Statement(CLASSES, "train").to_json()[:-9], "is not valid JSON"),
        (changed(label_ids="both"), 'label_ids is "train" or "dataset"'),
        (changed(label_ids=["train"]), 'label_ids is "train" or "dataset"'),
        (changed(label_ids="dataset"), "contradicts itself"),
        (changed(values=[2, 1, 0]), "contradicts itself"),
        (changed(values=[0, 1]), "contradicts itself"),
        (changed(ignore=0), "contradicts itself"),
        (changed(names=["a", "b"]), "palette has 3 entries for 2 names"),
        (changed(names="abc"), "expected a list, not str"),
        (changed(ids=[0, 1, 999]), "must be a number from 0 to 255"),
        (changed(more=1), "a class set has the keys"),
    ],
)
def test_a_damaged_statement_is_one_error(data: bytes, says: str) -> None:
    with pytest.raises(DataError) as error:
        read_statement(data, "masks/classes.json")
    assert says in str(error.value)
    assert str(error.value).startswith("masks/classes.json: ")


rows = st.lists(
    st.tuples(TEXT, st.lists(st.integers(0, 9), min_size=4, max_size=4), st.none() | st.floats(0, 1)),
    max_size=6,
    unique_by=lambda row: row[0],
)


@given(rows)
def test_the_table_against_a_loop(found: list[Any]) -> None:
    table = write_table(
        CLASSES.names, [LabelSummary(name, f"{name}.png", counts, mean) for name, counts, mean in found]
    )
    lines = list(csv.DictReader(io.StringIO(table.decode(), newline="")))
    assert len(lines) == len(found)
    for line, (name, counts, mean) in zip(lines, found, strict=True):
        pixels = max(sum(counts), 1)
        assert (line["image"], line["label"]) == (name, f"{name}.png")
        assert float(line["kept"]) == pytest.approx(sum(counts[:3]) / pixels, abs=1e-6)
        assert line["mean_confidence"] == ("" if mean is None else f"{mean:.6f}")
        for index, class_name in enumerate(CLASSES.names):
            assert float(line[f"class:{class_name}"]) == pytest.approx(counts[index] / pixels, abs=1e-6)
    assert images_of_labels(table, "x") == {f"{name}.png": name for name, *_ in found}


def test_a_later_table_replaces_rows_of_its_labels() -> None:
    def table(*found: tuple[str, int]) -> bytes:
        return write_table(["k"], [LabelSummary(name, f"{name}.png", (count, 0), 0.5) for name, count in found])

    merged = merge_tables(table(("a", 1), ("b", 0)), table(("b", 4), ("c", 1)), "x")
    assert merged == table(("a", 1), ("b", 4), ("c", 1))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (b"", "must begin with the columns"),
        (b"image;label\n", "must begin with the columns"),
        (b"\xff", "is no table of labels"),
        (b'image,label,kept,mean_confidence\n"a', "is no table of labels"),
        (b"image,label,kept,mean_confidence\na,a.png\n", "row 2 has 2 cells, not 4"),
        (
            b"image,label,kept,mean_confidence\na,a.png,1,1\nb,a.png,1,1\n",
            "row 3 names 'a.png' of 'b' again; keep one of the rows",
        ),
        (b"image,label,kept,mean_confidence\na,a.png,1,1\na,b.png,1,1\n", "row 3 names 'b.png' of 'a' again"),
    ],
)
def test_a_damaged_table_is_one_error(table: bytes, says: str) -> None:
    with pytest.raises(DataError, match=r"^labels\.csv: ") as error:
        images_of_labels(table, "labels.csv")
    assert says in str(error.value)


@given(st.binary(max_size=60) | TEXT.map(str.encode), st.integers(0, 2000), st.integers(0, 255))
def test_foreign_bytes_end_in_one_error(noise: bytes, place: int, byte: int) -> None:
    """Noise, and files of ours with one byte changed: a DataError, or something that can be used."""
    ours = (
        Statement(CLASSES, "dataset").to_json(),
        write_table(CLASSES.names, [LabelSummary("a", "b", (1,) * 4, 0.5)]),
    )
    for read, good in zip((read_statement, images_of_labels), ours, strict=True):
        at = place % len(good)
        for data in (noise, good[:at], good[:at] + bytes([byte]) + good[at + 1 :]):
            with suppress(DataError):
                read(data, "x")


def test_a_table_that_a_spreadsheet_saved() -> None:
    assert images_of_labels(b"\xef\xbb\xbfimage,label,kept,mean_confidence\r\na,a.png,1,1\r\n", "x") == {"a.png": "a"}


def test_the_legend_shows_every_class_in_its_colour() -> None:
    files = describe(Statement(CLASSES, "dataset"), [])
    assert {*files} == {"classes.json", "legend.png", "labels/classes.json", "labels/labels.csv"}
    with Image.open(io.BytesIO(files["legend.png"])) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or []}
    assert {*CLASSES.palette, (0, 0, 0)} <= colours


@pytest.mark.parametrize("count", [1, 33, 256])
def test_a_legend_of_many_or_odd_classes(count: int) -> None:
    names = ["道路", "\x1b[31m", "x" * 500, "\u202e", ""]
    image = legend([(index, names[index % 5], (index, 0, 0)) for index in range(count)])
    assert image.shape[2] == 3
    assert len({tuple(pixel) for pixel in image.reshape(-1, 3)} & {(index, 0, 0) for index in range(count)}) == count


def test_a_legend_has_a_row_of_its_colour_for_each_class_and_columns_of_32() -> None:
    image = legend([(value, "x", (value, 100, 200)) for value in range(70)])
    height, width, _ = image.shape
    assert height == 32 * 24 + 16
    column = (width - 8) // 3
    for value in range(70):
        y, x = 8 + value % 32 * 24, 8 + value // 32 * column
        swatch = image[y + 3 : y + 20, x + 1 : x + 36]
        assert (swatch == (value, 100, 200)).all()
        assert (image[y + 2 : y + 21, x + 36] == (38, 39, 43)).all(), "a frame, for classes that are white"
        assert (image[y + 2 : y + 21, [x - 1, x + 37]] == 255).all()
        assert (image[y : y + 24, x + 40 : x + 60] < 128).any(), "the words beside it are dark"
    assert (image[:, -8:] == 255).all()


def test_a_legend_cuts_long_names_and_shows_no_control_characters() -> None:
    def words(name: str) -> np.ndarray:
        return legend([(7, name, (0, 0, 0))])

    assert np.array_equal(words("x" * 500), words("x" * 42 + "..."))  # 48 letters with the value
    assert not np.array_equal(words("x" * 45), words("x" * 42 + "..."))
    assert np.array_equal(words("a\x1bb"), words("a?b"))
    assert not np.array_equal(words("a b"), words("a?b"))


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([0.0, 0.5]), st.sampled_from([0.0, 0.5]))
def test_mean_confidence_against_a_loop(seed: int, drawn: bool, threshold: float, second_below: float) -> None:
    book = Codebook(3, (0.25, 0.5, 0.75), second_below=second_below)
    rng = np.random.default_rng(seed)
    codes = rng.choice([*range(book.num_codes), book.invalid], (5, 6)).astype(book.dtype)
    labels = book.lut(threshold)[codes]
    mask = rng.random((5, 6)) < 0.3 if drawn else None
    if mask is not None:
        labels = np.where(mask, np.uint8(1), labels)
    _, bins = book.classes_and_bins(codes)
    values = []
    for index in np.ndindex(5, 6):
        if labels[index] != IGNORE:
            values.append(1.0 if mask is not None and mask[index] else (0.125, 0.375, 0.625, 0.875)[bins[index]])
    mean = mean_confidence(codes, labels, book, mask)
    assert mean is None if not values else mean == pytest.approx(np.mean(values), abs=1e-6)
