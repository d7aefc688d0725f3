"""Each refusal of codes, shards, label sets and label maps, whole: where, what, and a remedy where there is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest

from autolabel.errors import DataError, LabelError, SettingError
from autolabel.labels import png
from autolabel.labels.calibration import count_cells
from autolabel.labels.codebook import RULE, Codebook
from autolabel.labels.label_rules import LabelRules, apply_rules, coarse_tables
from autolabel.labels.label_set import images_of_labels, merge_tables, read_statement
from autolabel.labels.shards import _LAYOUT, read_shard, write_shard
from autolabel.labels.threshold import apply_threshold, count_pixels
from autolabel.labels.threshold_rules import quantile_thresholds, require_reachable
from tests.helpers.said import said

BOOK = Codebook(2, (0.3, 0.5))
MANY = tuple(n / 1000 for n in range(1, 501))
CODES = np.array([[0, 1, 2], [3, 4, 255]], np.uint8)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0,), "classes: 0 classes; label maps hold 1 to 255"),
        ((2, (0.4,)), "edges: 0.5 is missing; it is always a bin edge"),
        ((2, (0.5, 0.4)), "edges: 0.5, 0.4 do not increase from 0.001 to 0.999999 at most"),
        ((2, (0.0009, 0.5)), "edges: 0.0009, 0.5 do not increase from 0.001 to 0.999999 at most"),
        ((255, MANY), "edges: 255 classes with 501 bins exceed two bytes; give fewer edges"),
    ],
)
def test_codebooks(arguments: Any, text: str) -> None:
    assert said(lambda: Codebook(*arguments), SettingError) == text


def test_the_outermost_edges() -> None:
    assert Codebook(2, (0.001, 0.5, 0.999999)).bins == 4


def test_second_classes() -> None:
    missing = "second_below: 0.55 is no bin edge; the edges are 0.3, 0.5; take one of them, or 0 for no second classes"
    assert said(lambda: Codebook(2, (0.3, 0.5), second_below=0.55), SettingError) == missing
    alone = "second_below: there is one class only, and no second"
    assert said(lambda: Codebook(1, (0.5,), second_below=0.5), SettingError) == alone


def test_thresholds() -> None:
    edge = "threshold: 0.4 is no bin edge; the edges are 0.3, 0.5; take one of them, 0 to keep everything, or make "
    assert said(lambda: BOOK.lut(0.4), SettingError) == edge + "codes with finer bins"
    assert said(lambda: BOOK.lut([0.5]), SettingError) == "threshold: 1 thresholds for 2 classes"
    unreachable = "threshold: 1 is exceeded by no probability, so every pixel would be ignored; give a number below 1"
    assert said(lambda: require_reachable([1, 1]), SettingError) == unreachable
    counts = np.ones((2, 3), int)
    outside = "quantile_range: no bin edge lies in it; the edges are 0.3, 0.5; widen it"
    assert said(lambda: quantile_thresholds(counts, BOOK.edges, 0.1, (0.6, 0.9)), SettingError) == outside
    assert quantile_thresholds(counts, BOOK.edges, 0.1, (0.5, 0.5)) == [0.5, 0.5], "both limits belong to the range"


def test_codebooks_of_strangers() -> None:
    good = BOOK.to_dict()
    numbers = "b: num_classes must be a whole number and edges a list of numbers"
    for change, text in (
        ({"more": 1}, "b: not a code book: num_classes, edges and rule are its fields"),
        ({"rule": "p >= t"}, "b: codes were made by another rule: 'p >= t'; infer again with this version"),
        ({"num_classes": True}, numbers),
        ({"edges": (0.3, 0.5)}, numbers),
        ({"edges": [1]}, numbers),
        ({"second_below": 1}, "b: second_below must be a number"),
        ({"num_classes": 0}, "b: 0 classes; label maps hold 1 to 255"),
    ):
        assert said(lambda change=change: Codebook.from_dict({**good, **change}, "b"), DataError) == text
    assert Codebook.from_dict(good) == BOOK
    assert good["rule"] == RULE == "p > t iff sum(exp(l - max(l))) < 1/t, float32, ties to the lower class id"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("format", "other codes", "not a shard of codes"),
        ("format", None, "not a shard of codes"),
        ("format_version", 3, "format version 3; this version reads 1 and 2"),
        ("format_version", 0, "format version 0; this version reads 1 and 2"),
        ("class_names", '{"a": 1}', "class_names is not a list of names"),
        ("class_names", "[1]", "class_names is not a list of names"),
        ("split", "trian", "split 'trian' is none of train, val"),
        ("split", 5, "damaged or not a shard of codes: split is not text"),
        ("rule", "p >= t", "codes were made by another rule: 'p >= t'; infer again with this version"),
        ("edges", "x" * 1_000_001, "damaged or not a shard of codes: edges is too large"),
    ],
)
def test_attributes_of_a_shard(name: str, value: object, text: str) -> None:
    def change(file: h5py.File) -> None:
        if value is None:
            del file.attrs[name]
        else:
            if isinstance(value, str) and len(value) > 60_000:
                file.attrs.create(name, np.bytes_(value.encode()))
            else:
                file.attrs[name] = value

    assert said(lambda: read_shard(edited(change), where="s.h5"), DataError) == f"s.h5: {text}"


def edited(change: Callable[[h5py.File], None]) -> bytes:
    data = write_shard([("x", CODES)], BOOK, class_names=("a", "b"), split="val")
    with h5py.File.in_memory(data, **_LAYOUT) as file:
        change(file)
        file.flush()
        return bytes(file.id.get_file_image())


def replaced(**options: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["images/000000"]
        made = file["images"].create_dataset("000000", **options)
        made.attrs["id"] = np.bytes_(b"x")

    return change


def twice(file: h5py.File) -> None:
    file["images"].copy("000000", "000001")


def linked(file: h5py.File) -> None:
    del file["images/000000"]
    file["images/000000"] = h5py.SoftLink("/elsewhere")


def elsewhere(file: h5py.File) -> None:
    del file["images"]
    file["images"] = h5py.ExternalLink("/etc/hostname", "/")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (twice, "holds an image id twice"),
        (linked, "images/000000 is a link"),
        (elsewhere, "images is a link"),
        (replaced(data=CODES), "'x' is not a map of uint8 codes"),
        (replaced(data=CODES[0], compression="gzip"), "'x' is not a map of uint8 codes"),
        (replaced(data=CODES.astype(np.uint16), compression="gzip"), "'x' is not a map of uint8 codes"),
        (replaced(data=CODES, compression="gzip", shuffle=True), "'x' is not a map of uint8 codes"),
        (
            replaced(data=CODES, compression="gzip", chunks=(1, 3)),
            "'x' is not a map of codes in blocks as they are written here",
        ),
        (
            replaced(shape=(2, 3), dtype=np.uint8, compression="gzip", chunks=(2, 3)),
            "'x' claims (2, 3), more than its bytes can hold",
        ),
    ],
)
def test_images_of_a_shard(change: Callable[[h5py.File], None], text: str) -> None:
    assert said(lambda: read_shard(edited(change), where="s.h5").check(), DataError) == f"s.h5: {text}"


def test_a_block_that_is_no_zlib_stream() -> None:
    def change(file: h5py.File) -> None:
        replaced(shape=(2, 3), dtype=np.uint8, compression="gzip", chunks=(2, 3))(file)
        file["images/000000"].id.write_direct_chunk((0, 0), b"no stream")

    header = "Error -3 while decompressing data: incorrect header check"
    text = f"s.h5: damaged or not a shard of codes: {header}"
    assert said(lambda: read_shard(edited(change), where="s.h5").check(), DataError) == text


def test_an_image_that_is_not_in_the_shard() -> None:
    assert said(lambda: read_shard(edited(lambda file: None)).codes("y"), DataError) == "codes: holds no image 'y'"


def test_what_a_shard_says_of_itself() -> None:
    shard = read_shard(edited(lambda file: None))
    assert (shard.ids, shard.class_names, shard.split, shard.book) == (("x",), ("a", "b"), "val", BOOK)
    with h5py.File.in_memory(edited(lambda file: None)) as file:
        found = {
            name: (str(value.dtype), value.tolist()) for name, value in file.attrs.items() if hasattr(value, "dtype")
        }
        assert found["format_version"] == ("uint32", 1)
        assert (found["num_classes"], found["edges"]) == (("uint32", 2), ("float64", [0.3, 0.5]))
        dataset = file["images/000000"]
        assert (dataset.compression, dataset.compression_opts, dataset.chunks) == ("gzip", 6, (2, 3))


def header(data: bytes, **change: int) -> bytes:
    """A PNG file with another header, whose checksum is right."""
    width, height, depth, colour, *rest = png._HEADER.unpack(data[16:29])
    fields = {"width": width, "height": height, "depth": depth, "colour": colour, **change}
    return data[:8] + png._chunk(b"IHDR", png._HEADER.pack(*fields.values(), *rest)) + data[33:]


def test_label_maps() -> None:
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    good = png.encode(labels)
    cut = "a: damaged PNG: a checksum does not hold, or the file is cut short"
    for data, text in (
        (b"GIF89a" + bytes(60), "a: not a PNG file"),
        (good[:32], "a: not a PNG file"),
        (header(good, depth=16), "a: bit depth 16, colour type 0; label maps are 8-bit greyscale"),
        (header(good, colour=3), "a: bit depth 8, colour type 3; label maps are 8-bit greyscale"),
        (header(good, width=0), "a: 0 x 2 pixels exceed the limit of 4"),
        (header(good, width=3), "a: 3 x 2 pixels exceed the limit of 4"),
        (good + b"more", "a: damaged PNG: bytes follow its end"),
        (good[:-1], cut),
        (good[:40] + bytes([good[40] ^ 1]) + good[41:], cut),
    ):
        assert said(lambda data=data: png.decode(data, where="a", max_pixels=4), LabelError) == text
    np.testing.assert_array_equal(png.decode(good, max_pixels=4), labels)
    assert said(lambda: png.decode(b""), LabelError) == "label PNG: not a PNG file"
    unknown = "codec: no codec is named 'webp'; take one of default, archive"
    assert said(lambda: png.require_codec("webp"), SettingError) == unknown
    for change in ({"depth": 4}, {"depth": 8, "colour": 2}):
        assert "label maps are 8-bit greyscale" in said(lambda c=change: png.decode(header(good, **c)), LabelError)
    with pytest.raises(AssertionError, match="a label outside the classes"):
        count_pixels(labels, 2)


def test_maps_of_another_size() -> None:
    small = np.zeros((1, 2), np.uint8)
    other = "is (1, 2), its image (2, 3) (height, width)"
    policy = lambda: apply_threshold(CODES, BOOK.lut(0), coarse=small, policy="veto")  # noqa: E731
    assert said(policy, LabelError) == f"coarse label: {other}"
    unknown = "coarse: no policy is named 'all'; take one of off, veto, fill"
    assert said(lambda: apply_threshold(CODES, BOOK.lut(0), policy="all"), SettingError) == unknown
    tables = coarse_tables(["veto"] * 2, [frozenset({0}), frozenset({1})])
    winner = BOOK.lut(0)[CODES]
    assert said(lambda: apply_rules(winner, winner, small, LabelRules(*tables)), LabelError) == f"coarse label: {other}"
    ego = LabelRules(*tables, ego=np.zeros((1, 2), bool))
    assert said(lambda: apply_rules(winner, winner, None, ego), LabelError) == f"ego mask: {other}"
    cells = lambda: count_cells(BOOK, winner, winner, small)  # noqa: E731
    assert said(cells, DataError) == f"fine label: {other}"


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("a,b\n", "must begin with the columns image, label, kept, mean_confidence; put the original back"),
        ("image,label,kept,mean_confidence\na,b\n", "row 2 has 2 cells, not 4; repair the row"),
        (
            "image,label,kept,mean_confidence\na,x,1,1\nb,y,1,1\nc,y,1,1\n",
            "row 4 names 'y' of 'c' again; keep one of the rows",
        ),
        (
            'image,label,kept,mean_confidence\n"a',
            "is no table of labels: unexpected end of data; put the original back, or remove it",
        ),
    ],
)
def test_tables_of_labels(table: str, text: str) -> None:
    assert said(lambda: images_of_labels(table.encode(), "t.csv"), DataError) == f"t.csv: {text}"


def test_tables_that_are_merged() -> None:
    good = b"image,label,kept,mean_confidence\na,x,1,1\n"
    text = "t.csv: must begin with the columns image, label, kept, mean_confidence; put the original back"
    assert said(lambda: merge_tables(good, b"a,b\n", "t.csv"), DataError) == text
    assert said(lambda: merge_tables(b"a,b\n", good, "t.csv"), DataError) == text


def test_statements_of_ids() -> None:
    classes = {"name": "toy", "names": ["a", "b"], "palette": [[1, 1, 1], [2, 2, 2]], "ids": [3, 4]}
    classes |= {"ignored_ids": [255]}
    train = {**classes, "label_ids": "train", "values": [0, 1], "ignore": 255}
    assert read_statement(json.dumps(train).encode(), "c.json") is not None
    original = "put the original back"
    itself = "contradicts itself: values and ignore are not those of label_ids = "
    for change, text in (
        ({"label_ids": "both"}, f'label_ids is "train" or "dataset", not \'both\'; {original}'),
        ({"label_ids": "dataset"}, f'{itself}"dataset"; {original}'),
        ({"values": [1, 0]}, f'{itself}"train"; {original}'),
    ):
        data = json.dumps({**train, **change}).encode()
        assert said(lambda data=data: read_statement(data, "c.json"), DataError) == f"c.json: {text}"
    names = said(lambda: read_statement(json.dumps({**train, "names": ["a"]}).encode(), "c.json"), DataError)
    assert names == f"c.json: palette has 2 entries for 1 names; {original}"
    broken = "c.json: is not valid JSON: Expecting value: line 1 column 1 (char 0); put the original back, or remove it"
    assert said(lambda: read_statement(b"x", "c.json"), DataError) == broken
