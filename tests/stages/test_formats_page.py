"""The readers that docs/formats.md prints, run on the artefacts of a real run and compared with autolabel's own."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolabel.classes import CLASS_SETS
from autolabel.data.loaders import load_label, read_verified
from autolabel.data.manifest import Manifest
from autolabel.labels import png
from autolabel.labels.codebook import Codebook
from autolabel.labels.label_set import LabelIds, LabelSummary, Statement, describe
from autolabel.labels.shards import read_shard, write_shard
from autolabel.models.checkpoint import weights_from_bytes
from autolabel.store import Artefact, write_files
from tests.stages.tiny_pipeline import Tiny

pytestmark = pytest.mark.xdist_group("tiny")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
PUBLIC = {"csv", "hashlib", "json", "pathlib", "h5py", "numpy", "pyarrow.parquet", "PIL", "safetensors"}
READERS = ("damaged_files", "labels_of_shard", "label_set", "train_ids", "pairs", "weights")


def reader(name: str) -> Callable[..., Any]:
    """The function of this name on the page, in a namespace of its own."""
    (block,) = (block for block in BLOCKS if f"def {name}(" in block)
    namespace: dict[str, Any] = {}
    exec(block, namespace)
    return namespace[name]


def manifest_in(folder: Path) -> Manifest:
    return Manifest.from_files(lambda name: (folder / name).read_bytes())


def test_page_holds_one_short_reader_per_format() -> None:
    assert len(BLOCKS) == len(READERS)
    for name in READERS:
        (body,) = (node for block in BLOCKS for node in ast.parse(block).body if getattr(node, "name", "") == name)
        assert body.end_lineno is not None
        assert body.end_lineno - body.lineno < 14


def test_readers_use_public_libraries_only() -> None:
    imported = set()
    for node in (node for block in BLOCKS for node in ast.walk(ast.parse(block))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported == PUBLIC


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0, 0.3, 0.5, 0.99])
def test_labels_of_shard(tiny: Tiny, threshold: float) -> None:
    files = sorted(tiny.data("infer").glob("*.h5"))
    assert len(files) >= 5  # five images to label and three val images, two per shard at most
    for file in files:
        ours, shard = reader("labels_of_shard")(file, threshold), read_shard(file)
        assert tuple(ours) == shard.ids
        for image_id, labels in ours.items():
            np.testing.assert_array_equal(labels, shard.book.lut(threshold)[shard.codes(image_id)], strict=True)


@pytest.mark.parametrize(
    "book",
    [
        Codebook(19),
        Codebook(40),
        Codebook(9, second_below=0.95),
        Codebook(4, [0.5, 0.9], second_below=0.5),
        Codebook(255, [0.5]),
    ],
    ids=["19", "40", "9-second", "4-second", "255"],
)
def test_labels_of_shard_with_every_code(book: Codebook, tmp_path: Path) -> None:
    """One and two bytes, with and without second classes, and pixels without a prediction."""
    codes = np.append(np.arange(book.num_codes), book.invalid).astype(book.dtype)[None]
    (tmp_path / "codes.h5").write_bytes(write_shard([("a", codes)], book))
    for threshold in (0, *book.edges):
        labels = reader("labels_of_shard")(tmp_path / "codes.h5", threshold)["a"]
        np.testing.assert_array_equal(labels, book.lut(threshold)[codes], strict=True)


@pytest.mark.slow
def test_label_set(tiny: Tiny) -> None:
    folder = tiny.data("label")
    manifest, seen = manifest_in(folder), []
    for image_id, labels, why in reader("label_set")(folder):
        row = manifest.label(image_id, "auto")
        assert row is not None
        np.testing.assert_array_equal(labels, load_label(row, {"labels": folder}, manifest.classes), strict=True)
        assert why["kept"] + why["filled"] == np.count_nonzero(labels != 255) == labels.size - row.counts[-1]
        assert why["low_confidence"] + why["veto"] + why["no_prediction"] == row.counts[-1]
        seen.append(image_id)
    assert seen == [image.id for image in manifest.images]
    assert len(seen) == 5


@pytest.mark.slow
def test_train_ids(tiny: Tiny) -> None:
    folder = tiny.data("label")
    expected = {image_id: labels for image_id, labels, _ in reader("label_set")(folder)}
    found = dict(reader("train_ids")(folder / "labels"))
    assert found.keys() == expected.keys()
    for image_id, labels in found.items():
        np.testing.assert_array_equal(labels, expected[image_id], strict=True)


@pytest.mark.parametrize("label_ids", ["train", "dataset"])
def test_train_ids_of_either_form(tmp_path: Path, label_ids: LabelIds) -> None:
    statement = Statement(CLASS_SETS["cityscapes"], label_ids)
    labels = np.array([[*range(19), 255]], np.uint8)
    summary = LabelSummary("a b/ß", "a b/ß.png", (1,) * 20, 0.5)
    files = describe(statement, [summary]) | {"labels/a b/ß.png": png.encode(statement.values()[labels])}
    write_files(tmp_path, files.items())
    ((image_id, found),) = reader("train_ids")(tmp_path / "labels")
    assert image_id == "a b/ß"
    np.testing.assert_array_equal(found, labels, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "split", "role", "number"),
    [("manifest", "train", "fine", 4), ("manifest", "val", "fine", 3), ("fuse", "train", "auto", 5)],
)
def test_pairs(tiny: Tiny, step: str, split: str, role: str, number: int) -> None:
    folder, roots = tiny.data(step), {"data": tiny.data("manifest"), "labels": tiny.data("label")}
    manifest = manifest_in(folder)
    found = list(reader("pairs")(folder, roots, split, role))
    assert len(found) == number
    rows = [(image, manifest.label(image.id, role)) for image in manifest.split(split)]
    expected = [(image, label) for image, label in rows if label is not None]
    for (image_id, *files), (image, label) in zip(found, expected, strict=True):
        assert image_id == image.id
        for file, row in zip(files, (image, label), strict=True):
            assert file.read_bytes() == read_verified(roots, row.root, row.path, row.sha256)


@pytest.mark.slow
def test_weights(tiny: Tiny) -> None:
    file = tiny.data("teacher") / "weights.safetensors"
    card, tensors = reader("weights")(file)
    model, ours = weights_from_bytes(file.read_bytes(), file)
    assert card == json.loads(ours.to_text())
    assert (card["class_names"], card["mean"]) == (list(ours.class_names), list(ours.mean))
    state = model.state_dict()
    assert tensors.keys() == state.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, state[key].numpy(), strict=True)


@pytest.mark.slow
def test_damaged_files(tiny: Tiny, tmp_path: Path) -> None:
    for step in tiny.states():
        artefact = tiny.data(step).parent
        assert reader("damaged_files")(artefact) == Artefact.open(artefact).verify(full=True) == []
    copy = shutil.copytree(tiny.data("label").parent, tmp_path / "copy")
    committed = Artefact.open(copy)
    (copy / "data" / "labels.parquet").unlink()
    data = bytearray((copy / "data" / "ledger.json").read_bytes())
    data[-3] ^= 1
    (copy / "data" / "ledger.json").write_bytes(data)
    found = reader("damaged_files")(copy)
    assert found == ["labels.parquet", "ledger.json"]
    assert [line.split(":")[0] for line in committed.verify(full=True)] == [f"data/{name}" for name in found]
    (copy / "manifest.json").write_bytes(b"{}")
    assert reader("damaged_files")(copy) == ["manifest.json"]
