"""Rows in columns behave as a list of rows does."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple

import pyarrow as pa
import pytest

from autolabel.classes import CLASS_SETS
from autolabel.data.manifest import Manifest, image_rows, label_rows, labelled_images, train_labels, unlabelled_images
from autolabel.data.parts import label_part, part_digests
from autolabel.data.rows import Pairs
from autolabel.data.schema import ROLES, SPLITS, ImageRow, LabelRow
from autolabel.store.files import digest_json
from tests.data.manifest_rows import image_row, label_row

SYNTHETIC = CLASS_SETS["synthetic"]


def many(number: int) -> tuple[list[ImageRow], list[LabelRow]]:
    """Images of all splits and labels of all roles, in an order of chance."""
    rng = random.Random(number)
    images = [image_row(f"{rng.choice('aBé')}{n}", split=rng.choice(SPLITS)) for n in range(number)]
    labels = [label_row(row.id, role) for row in images for role in rng.sample(ROLES, rng.randrange(3))]
    rng.shuffle(images)
    rng.shuffle(labels)
    return images, labels


@pytest.mark.parametrize("number", [0, 1, 1024, 2500])  # rows are made in batches of 1024
def test_columns_hold_the_rows(number: int) -> None:
    images, labels = many(number)
    for rows, made in ((image_rows(iter(images)), images), (label_rows(iter(labels)), labels)):
        assert (len(rows), list(rows), rows == made) == (len(made), made, True)
        assert rows[-7:] == made[-7:]
        assert rows[2:9][1:4] == made[2:9][1:4]
        assert rows[::-3] == made[::-3]
        assert rows != made[1:] or not made
        for index in (0, -1, number // 2):
            if made:
                assert rows[index] == made[index]
        with pytest.raises(IndexError):
            rows[len(made)]


def test_rows_are_sorted_as_python_sorts_text() -> None:
    images, _ = many(300)
    rows = image_rows(images).sorted_by("id")
    assert list(rows) == sorted(images, key=lambda row: row.id)
    ids = [row.id for row in rows]
    assert [rows.position("id", name) for name in ids] == list(range(len(ids)))
    assert (rows.position("id", ""), rows.position("id", "é999999")) == (0, len(ids))


def test_a_cell_that_the_column_cannot_hold() -> None:
    with pytest.raises((pa.ArrowException, OverflowError)):
        image_rows([image_row("a", width=2**31)])


def test_selections_are_those_of_a_loop() -> None:
    images, labels = many(400)
    manifest = Manifest(SYNTHETIC, images, labels)
    by_name = {(row.image_id, row.role): row for row in labels}
    ordered = sorted(images, key=lambda row: row.id)
    for split in SPLITS:
        rows = [row for row in ordered if row.split == split]
        found = [
            (row, next((by_name[row.id, r] for r in ("auto", "fine") if (row.id, r) in by_name), None)) for row in rows
        ]
        assert labelled_images(manifest, split, "auto", "fine") == [pair for pair in found if pair[1] is not None]
        assert manifest.split(split) == rows
    train = {row.id for row in images if row.split == "train"}
    assert unlabelled_images(manifest) == [r for r in ordered if r.id in train and (r.id, "fine") not in by_name]
    assert list(train_labels(manifest)) == [row for row in manifest.labels if row.image_id in train]
    for row in images:
        assert manifest.image(row.id) == row
        assert [manifest.label(row.id, role) for role in ROLES] == [by_name.get((row.id, role)) for role in ROLES]
    wanted = pa.array([images[5].id, images[0].id])
    assert manifest.images_of(wanted) == [images[5], images[0]]


def test_digests_of_parts_are_those_of_whole_lists() -> None:
    images, labels = many(200)
    manifest = Manifest(SYNTHETIC, images, labels)
    found = part_digests(manifest)
    rows = {row.id: row for row in images}
    for split in SPLITS:
        for role in ROLES:
            pairs = [
                [astuple(rows[row.image_id]), astuple(row)]
                for row in sorted(labels, key=lambda row: row.image_id)
                if (rows[row.image_id].split, row.role) == (split, role)
            ]
            assert found.get(label_part(split, role)) == (digest_json(pairs) if pairs else None)
    assert found["val.images"] == digest_json([astuple(row) for row in manifest.split("val")])
    assert list(found)[1:] == sorted(list(found)[1:])
    json.dumps(found)


def test_no_row_stays_an_object() -> None:
    images, labels = many(3000)
    files = Manifest(SYNTHETIC, images, labels).to_files()
    del images, labels
    Manifest.from_files(files.__getitem__)  # what is made once, on first use
    with traced_memory() as used:
        manifest = Manifest.from_files(files.__getitem__)
        chosen = unlabelled_images(manifest), labelled_images(manifest, "train", *ROLES)
        assert used() < 30 * len(manifest.images)  # bytes; an object takes hundreds
    assert all(chosen)


@contextmanager
def traced_memory() -> Iterator[Callable[[], int]]:
    """A function that tells the bytes that Python has allocated since and not freed."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_pairs() -> None:
    pairs = Pairs([1, 2, 3], "abc")
    assert (len(pairs), pairs[-1], list(pairs[1:])) == (3, (3, "c"), [(2, "b"), (3, "c")])
    assert pairs == [(1, "a"), (2, "b"), (3, "c")]
    assert pairs != [(1, "a"), (2, "b"), (3, "d")]
