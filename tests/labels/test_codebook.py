"""The codebook against loops over classes and bins."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import ConfigError, DataError
from autolabel.labels.codebook import DEFAULT_EDGES, Codebook, default_edges, thresholds_per_class


def expected_table(book: Codebook, thresholds: list[float]) -> np.ndarray:
    table = np.full(book.invalid + 1, 255)
    for train_id in range(book.num_classes):
        for bin_ in range(book.bins):
            exceeded = book.edges[:bin_]  # bin b: p exceeds the b lowest edges
            if thresholds[train_id] == 0 or thresholds[train_id] in exceeded:
                table[train_id * book.bins + bin_] = train_id
    return table


def test_cityscapes_leaves_13_bins_in_one_byte() -> None:
    book = Codebook(19)
    assert book.edges == (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
    assert (book.bins, book.num_codes, book.dtype, book.invalid) == (13, 247, np.uint8, 255)


def test_default_edges_of_every_class_count() -> None:
    for num_classes in range(1, 256):
        book = Codebook(num_classes)
        assert 0.5 in book.edges
        assert set(book.edges) <= set(DEFAULT_EDGES)
        assert book.num_codes <= book.invalid
        if num_classes <= 19 or num_classes >= 32:
            assert book.edges == DEFAULT_EDGES
        assert book.dtype == (np.uint8 if num_classes <= 31 else np.uint16)
        assert book.bins >= 8
    assert default_edges(31) == (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@pytest.mark.parametrize("num_classes", [1, 2, 11, 19, 31, 32, 66, 255])
def test_table_of_one_threshold(num_classes: int) -> None:
    book = Codebook(num_classes)
    for threshold in (0.0, *book.edges):
        table = book.lut(threshold)
        assert table.dtype == np.uint8
        np.testing.assert_array_equal(table, expected_table(book, [threshold] * num_classes))


@pytest.mark.slow
@given(st.data())
def test_table_of_a_threshold_a_class(data: st.DataObject) -> None:
    book = Codebook(data.draw(st.sampled_from([1, 5, 19, 40])))
    thresholds = [data.draw(st.sampled_from((0.0, *book.edges))) for _ in range(book.num_classes)]
    np.testing.assert_array_equal(book.lut(thresholds), expected_table(book, thresholds))


@pytest.mark.parametrize("threshold", [0.42, 1.0, -0.1, float("nan"), 0.5000001])
def test_threshold_that_is_no_edge(threshold: float) -> None:
    with pytest.raises(ConfigError, match=r"0\.3, 0\.4, 0\.5, .* 0\.99; .*finer bins"):
        Codebook(19).lut(threshold)


def test_finer_bins_by_setting() -> None:
    book = Codebook(19, [0.42, 0.5])
    assert book.lut(0.42)[:4].tolist() == [255, 0, 0, 255]
    assert Codebook(100, [0.5, 0.9]).dtype == np.uint16
    assert Codebook(85, [0.5, 0.9]).dtype == np.uint8
    assert Codebook(128, [0.5]).dtype == np.uint16  # 256 codes leave no room for the invalid one


def test_wrong_number_of_thresholds() -> None:
    with pytest.raises(ConfigError, match="2 thresholds for 19 classes"):
        Codebook(19).lut([0.5, 0.5])


@pytest.mark.parametrize(
    "edges",
    [
        [],
        [0.4, 0.6],
        [0.5, 0.4],
        [0.5, 0.5],
        [0.0, 0.5],
        [0.5, 1.0],
        [0.5, float("nan")],
        [0.5, 0.9, 0.9 + 1e-12],
        [-0.1, 0.5],
    ],
)
def test_edges_refused(edges: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"^^edges"):
        Codebook(19, edges)


def test_sizes_refused() -> None:
    with pytest.raises(ConfigError, match="two bytes"):
        Codebook(255, [i / 1000 for i in range(1, 501)])
    for num_classes in (0, 256):
        with pytest.raises(ConfigError, match="1 to 255"):
            Codebook(num_classes)


@pytest.mark.parametrize("num_classes", [3, 19, 40])
def test_classes_and_bins(num_classes: int) -> None:
    book = Codebook(num_classes)
    codes = np.arange(book.invalid + 1).astype(book.dtype).reshape(-1, 64)
    classes, bins = book.classes_and_bins(codes)
    assert (classes.dtype, bins.dtype, classes.shape) == (np.uint8, np.uint16, codes.shape)
    for code, train_id, bin_ in zip(codes.flat, classes.flat, bins.flat, strict=True):
        valid = int(code) < num_classes * book.bins
        assert (train_id, bin_) == (divmod(int(code), book.bins) if valid else (255, 0))


@pytest.mark.parametrize("book", [Codebook(19), Codebook(66), Codebook(3, [0.123, 0.5])], ids=str)
def test_book_survives_json_and_pickle(book: Codebook) -> None:
    assert Codebook.from_dict(json.loads(json.dumps(book.to_dict()))) == book
    assert pickle.loads(pickle.dumps(book)) == book


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_classes", True),
        ("num_classes", 19.0),
        ("num_classes", 0),
        ("num_classes", 10**30),
        ("edges", [0.6]),
        ("edges", "0.5"),
        ("edges", [0.5, None]),
        ("edges", [1]),
        ("rule", "p >= t"),
        ("extra", 1),
    ],
)
def test_wrong_book_refused(field: str, value: object) -> None:
    with pytest.raises(DataError, match=r"^shard 3: "):
        Codebook.from_dict({**Codebook(19).to_dict(), field: value}, "shard 3")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@given(
    st.fixed_dictionaries({"num_classes": JSON, "edges": JSON, "rule": st.just(Codebook(19).to_dict()["rule"])}) | JSON
)
def test_any_json_is_a_book_or_an_error(value: object) -> None:
    try:
        book = Codebook.from_dict(value)
    except DataError:
        return
    assert book.to_dict() == value


def test_thresholds_by_class_name() -> None:
    names = ("road", "car", "train")
    assert thresholds_per_class(names, 0.5, {"train": 0.9}) == (0.5, 0.5, 0.9)
    assert thresholds_per_class(names, 0.5, {}) == (0.5, 0.5, 0.5)
    with pytest.raises(ConfigError, match=r"no class is named 'trian'; did you mean 'train'\?"):
        thresholds_per_class(names, 0.5, {"trian": 0.9})
    with pytest.raises(ConfigError, match="classes are road, car, train"):
        thresholds_per_class(names, 0.5, {"xyz": 0.9})


SECOND_BOOKS = [
    Codebook(2, second_below=0.95),
    Codebook(19, second_below=0.5),
    Codebook(40, [0.123, 0.5], second_below=0.123),
]


@pytest.mark.parametrize("book", SECOND_BOOKS)
def test_codes_with_second_classes_take_apart(book: Codebook) -> None:
    """Every valid code against a loop over class, bin and second class."""
    parts = [(c, b, s) for c in range(book.num_classes) for b in range(book.bins) for s in range(book.num_classes + 1)]
    codes = np.arange(book.num_codes).astype(book.dtype)
    assert len(parts) == len(codes)
    classes, bins = book.classes_and_bins(codes)
    np.testing.assert_array_equal(classes, [c for c, _, _ in parts])
    np.testing.assert_array_equal(bins, [b for _, b, _ in parts])
    seconds = [s if s < book.num_classes else 255 for _, _, s in parts]
    np.testing.assert_array_equal(book.second_classes(codes), seconds)
    invalid = np.array([book.invalid], book.dtype)
    assert (book.second_classes(invalid)[0], book.classes_and_bins(invalid)[0][0]) == (255, 255)
    for threshold in (0.0, *book.edges):
        above = np.array([threshold == 0 or threshold in book.edges[:b] for _, b, _ in parts])
        np.testing.assert_array_equal(book.lut(threshold)[codes], np.where(above, classes, 255))
        assert (book.lut(threshold)[book.num_codes :] == 255).all()
    assert Codebook.from_dict(json.loads(json.dumps(book.to_dict()))) == book


def test_without_second_classes_nothing_is_said_of_them() -> None:
    assert Codebook(19).to_dict().keys() == {"num_classes", "edges", "rule"}
    assert (Codebook(19).second_classes(np.arange(256).astype(np.uint8)) == 255).all()


@pytest.mark.parametrize(
    ("num_classes", "edges", "second_below", "says"),
    [
        (19, None, 0.55, r"^second_below: 0\.55 is no bin edge"),
        (1, None, 0.5, "one class only"),
        (80, None, 0.5, "80 classes with 13 bins and second classes exceed two bytes; give fewer edges"),
    ],
)
def test_second_classes_that_cannot_be(num_classes: int, edges: None, second_below: float, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Codebook(num_classes, edges, second_below=second_below)
    assert Codebook(124, [0.4, 0.5, 0.9], second_below=0.9).dtype == np.uint16


@pytest.mark.parametrize("value", ["0.5", 1, None, 0.55])
def test_second_classes_of_a_strangers_book(value: object) -> None:
    with pytest.raises(DataError):
        Codebook.from_dict({**Codebook(19).to_dict(), "second_below": value})


def test_a_value_that_is_no_code_book_is_named_so() -> None:
    with pytest.raises(DataError, match=r"^code book: not a code book"):
        Codebook.from_dict(3)
