"""The manifest: round trip, same bytes, and the refusal of every invalid row by table and place."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.classes import CLASS_SETS
from autolabel.data.manifest import CLASSES, IMAGE_SCHEMA, IMAGES, LABEL_SCHEMA, LABELS, ImageRow, LabelRow, Manifest
from autolabel.data.schema import ENCODINGS, ROLES, SPLITS, unsafe_path
from autolabel.errors import ManifestError
from tests.data.manifest_rows import SYNTHETIC, K, image_row, label_row


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    text = st.text(st.characters(codec="utf-8"), max_size=12)
    ids = draw(st.lists(text.filter(bool), max_size=5, unique=True))
    images, labels = [], []
    for number, image_id in enumerate(ids):
        split, group = draw(st.sampled_from(SPLITS)), draw(text)
        width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        size = draw(st.integers(0, 2**62))
        digest = f"{draw(st.integers(0, 2**256 - 1)):064x}"
        images.append(ImageRow(image_id, split, group, "source", f"i/{number}", digest, size, width, height))
        for role in draw(st.sets(st.sampled_from(ROLES))):
            first = draw(st.integers(0, width * height))
            counts = (first, *(0,) * (K - 1), width * height - first)
            encoding = draw(st.sampled_from(ENCODINGS))
            labels.append(LabelRow(image_id, role, encoding, "labels", f"{role}/{number}", digest, size, counts, group))
    return Manifest(SYNTHETIC, tuple(images), tuple(labels))


@pytest.mark.slow
@given(manifests())
def test_round_trip_and_the_same_bytes(manifest: Manifest) -> None:
    files = manifest.to_files()
    assert Manifest.from_files(files.__getitem__) == manifest
    turned = Manifest(manifest.classes, manifest.images[::-1], manifest.labels[::-1])
    assert turned == manifest
    assert turned.to_files() == files


def test_rows_are_sorted_and_found() -> None:
    images = (image_row("b", split="val"), image_row("a"), image_row("B"))
    manifest = Manifest(SYNTHETIC, images, (label_row("b", "truth"), label_row("b", "coarse"), label_row("a")))
    assert [row.id for row in manifest.images] == ["B", "a", "b"]  # ids that differ in case are two ids
    assert [(row.image_id, row.role) for row in manifest.labels] == [("a", "fine"), ("b", "coarse"), ("b", "truth")]
    assert manifest.image("b") == images[0]
    assert manifest.label("b", "fine") is None
    assert manifest.label("b", "coarse").path == "coarse/b.png"
    assert [row.id for row in manifest.split("train")] == ["B", "a"]
    with pytest.raises(ManifestError, match="no image 'c'"):
        manifest.image("c")


IMAGE_FAULTS = {
    "the id is empty": {"id": ""},
    "split 'training' is none of": {"split": "training"},
    "the group is no text": {"group": None},
    "path '../x' leaves its root": {"path": "../x"},
    "path 'a/../../x' leaves its root": {"path": "a/../../x"},
    "path '/etc/passwd' is absolute": {"path": "/etc/passwd"},
    "path '' is empty": {"path": ""},
    "path 'a//b' has an empty": {"path": "a//b"},
    "NUL": {"path": "a\0b"},
    "root 'C:' is no name": {"root": "C:"},
    "sha256 is not 64": {"sha256": "0" * 63},
    "sha256 is not": {"sha256": "G" * 64},
    "bytes -1": {"bytes": -1},
    "bytes nan": {"bytes": float("nan")},
    "size 0 x 3": {"width": 0},
    "size 4 x -3": {"height": -3},
    "size nan x 3": {"width": float("nan")},
    "size 4 x 3.0": {"height": 3.0},
    "repeats the id": {"id": "a"},
    "repeats the file 'images/a.png'": {"path": "images/a.png"},
}
LABEL_FAULTS = {
    "role 'best' is none of": {"role": "best"},
    "encoding 'rgb' is none of": {"encoding": "rgb"},
    "image that the manifest does not have": {"image_id": "c"},
    "has 3 pixel counts for 9 classes": {"counts": (4, 4, 4)},
    "pixel count that is no whole number": {"counts": (13, -1) + (0,) * (K - 1)},
    "no whole number from 0": {"counts": (12.0,) + (0,) * K},
    "counts 11 pixels, its image has 12": {"counts": (11,) + (0,) * K},
    "is a second label of role 'fine'": {"image_id": "a"},
    "path '..' leaves": {"path": ".."},
    "sha256": {"sha256": ""},
    "the provenance is no text": {"provenance": None},
}


@pytest.mark.parametrize("message", IMAGE_FAULTS)
def test_wrong_image_rows_are_named(message: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        Manifest(SYNTHETIC, (image_row("a"), image_row("b", **IMAGE_FAULTS[message])), ())
    assert str(caught.value).startswith("images.parquet row 1 ")


@pytest.mark.parametrize("message", LABEL_FAULTS)
def test_wrong_label_rows_are_named(message: str) -> None:
    images = (image_row("a"), image_row("b"))
    with pytest.raises(ManifestError, match=message) as caught:
        Manifest(SYNTHETIC, images, (label_row("a"), replace(label_row("b"), **LABEL_FAULTS[message])))
    assert str(caught.value).startswith("labels.parquet row 1 ")


@pytest.mark.slow
@given(st.text())
def test_no_accepted_path_leaves_its_root(path: str) -> None:
    if unsafe_path(path) is None:
        parts = path.split("/")
        assert path[0] != "/"
        assert not {"", ".", ".."} & set(parts)
    assert unsafe_path(f"{path}/..") is not None
    assert unsafe_path(f"/{path}") is not None


def files_with(table: str, column: str, values: pa.Array) -> dict[str, bytes]:
    """The files of a sound manifest in which one column was replaced."""
    files = Manifest(SYNTHETIC, (image_row("a"), image_row("b")), (label_row("a"), label_row("b"))).to_files()
    rows = pq.read_table(BytesIO(files[table]))
    rows = rows.set_column(rows.schema.get_field_index(column), column, values)
    sink = BytesIO()
    pq.write_table(rows, sink)
    return files | {table: sink.getvalue()}


@pytest.mark.parametrize(
    ("table", "column", "values", "message"),
    [
        (IMAGES, "width", pa.array([4.0, float("nan")]), "column 'width' must be of type int32, not double"),
        (IMAGES, "width", pa.array([4, None], pa.int32()), "row 1: width is empty"),
        (IMAGES, "id", pa.array(["a", None]), "row 1: id is empty"),
        (IMAGES, "id", pa.array(["a", "a"]), "row 1 .*repeats the id"),
        (IMAGES, "id", pa.array([1, 2]), "column 'id' must be of type string"),
        (IMAGES, "path", pa.array(["a", "../../b"]), "row 1 .*leaves its root"),
        (IMAGES, "height", pa.array([-3, 3], pa.int32()), "row 0 .*size 4 x -3"),
        (LABELS, "counts", pa.array([[12] + [0] * K, [12]]), "row 1 .*1 pixel counts"),
        (LABELS, "counts", pa.array([[12, *[0] * K], [12, None, *[0] * (K - 1)]]), "row 1 .*no whole number"),
        (LABELS, "counts", pa.array([[12] + [0] * K, None]), "row 1: counts is empty"),
        (LABELS, "counts", pa.array([[], []], pa.list_(pa.int64())), "row 0 .*0 pixel counts"),
        (LABELS, "image_id", pa.array(["b", "x"]), "row 1 .*does not have"),
    ],
)
def test_wrong_tables_are_refused(table: str, column: str, values: pa.Array, message: str) -> None:
    files = files_with(table, column, values)
    with pytest.raises(ManifestError, match=message) as caught:
        Manifest.from_files(files.__getitem__)
    assert str(caught.value).startswith(table)


def test_missing_unknown_and_repeated_columns_are_refused() -> None:
    files = Manifest(SYNTHETIC, (image_row("a"),), ()).to_files()
    rows = pq.read_table(BytesIO(files[IMAGES]))
    twice = pa.Table.from_arrays([*rows.columns, rows.column("id")], names=[*rows.schema.names, "id"])
    for wrong in (rows.drop_columns(["sha256"]), rows.append_column("extra", pa.array([1])), twice):
        sink = BytesIO()
        pq.write_table(wrong, sink)
        with pytest.raises(ManifestError, match=r"images\.parquet: columns must be"):
            Manifest.from_files((files | {IMAGES: sink.getvalue()}).__getitem__)


@pytest.mark.parametrize("name", [IMAGES, LABELS, CLASSES])
@pytest.mark.parametrize("data", [b"", b"PAR1", b"{}", b"[" * 100_000, b"\xff\xfe"])
def test_other_bytes_are_refused(name: str, data: bytes) -> None:
    files = Manifest(SYNTHETIC, (image_row("a"),), ()).to_files() | {name: data}
    with pytest.raises(ManifestError, match=name):
        Manifest.from_files(files.__getitem__)


VALUES: dict[pa.DataType, st.SearchStrategy] = {
    pa.string(): st.one_of(
        st.none(), st.text(st.characters(codec="utf-8"), max_size=6), st.sampled_from(["../x", "fine"])
    ),
    pa.int64(): st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    pa.int32(): st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
    pa.list_(pa.int64()): st.lists(st.one_of(st.none(), st.integers(-9, 99)), max_size=K + 2),
}


@pytest.mark.slow
@settings(max_examples=500)
@given(st.data())
def test_any_cell_is_sound_or_refused(data: st.DataObject) -> None:
    """Any value in one cell is refused or read back as a valid row; the rules are written here a second time."""
    table, schema = data.draw(st.sampled_from([(IMAGES, IMAGE_SCHEMA), (LABELS, LABEL_SCHEMA)]))
    field = schema.field(data.draw(st.integers(0, len(schema) - 1)))
    values = pa.array([data.draw(VALUES[field.type]) for _ in range(2)], field.type)
    with contextlib.suppress(ManifestError):
        manifest = Manifest.from_files(files_with(table, field.name, values).__getitem__)
        assert len({row.id for row in manifest.images}) == 2
        for row in (*manifest.images, *manifest.labels):
            assert not row.path.startswith("/")
            assert ".." not in row.path.split("/")
            assert row.bytes >= 0
            assert len(row.sha256) == 64
        for label in manifest.labels:
            assert label.role in ROLES
            assert min(label.counts) >= 0
            assert sum(label.counts) == manifest.image(label.image_id).width * manifest.image(label.image_id).height


def test_class_set_of_another_size_is_refused() -> None:
    files = Manifest(SYNTHETIC, (image_row("a"),), (label_row("a"),)).to_files()
    other = json.dumps(CLASS_SETS["camvid"].to_dict()).encode()
    with pytest.raises(ManifestError, match="10 pixel counts for 11 classes"):
        Manifest.from_files((files | {CLASSES: other}).__getitem__)


def cpu_seconds_to_load(count: int) -> float:
    """The least of three."""
    images = tuple(image_row(f"town_{k:06}") for k in range(count))
    labels = tuple(label_row(row.id, role) for row in images for role in ("coarse", "auto"))
    files = Manifest(SYNTHETIC, images, labels).to_files()
    seconds = []
    for _ in range(3):
        start = time.process_time()
        assert len(Manifest.from_files(files.__getitem__).images) == count
        seconds.append(time.process_time() - start)
    return min(seconds)


@pytest.mark.slow
def test_eight_times_as_many_images_take_no_square_of_the_time() -> None:
    """A ratio of CPU times, so that neither a slow nor a busy machine matters: linear is 8, quadratic 64."""
    assert cpu_seconds_to_load(8_000) < 24 * cpu_seconds_to_load(1_000)
