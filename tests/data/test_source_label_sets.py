"""Labels of autolabel as masks of a folder: the statement of the label set decides how they are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autolabel.classes import ClassSet
from autolabel.classes.palettes import default_palette
from autolabel.config.sources import FolderConfig
from autolabel.data.build import build
from autolabel.data.decode import decode_label
from autolabel.data.loaders import load_label
from autolabel.data.manifest import Manifest
from autolabel.data.schema import encoded_values, values_encoding
from autolabel.data.sources.label_sets import encoding_of
from autolabel.data.sources.registry import fingerprint, plan
from autolabel.errors import DataError, LabelError
from autolabel.labels import png
from autolabel.labels.label_set import LabelIds, LabelSummary, Statement, describe
from autolabel.store import InputDigests
from tests.data.image_files import put

NAMES = ("road", "car", "sky")
TRAIN_IDS = np.array([[0, 0, 1], [2, 255, 1]], np.uint8)


def class_set(*names: str, ids: tuple[int, ...] = (1, 2, 3), ignored: tuple[int, ...] = (0, 255)) -> ClassSet:
    return ClassSet("folder", names, default_palette(len(names)), ids, ignored)


def class_file(root: Path, classes: ClassSet) -> None:
    text = f"names = {json.dumps(classes.names)}\nids = {list(classes.ids)}\nignored_ids = {list(classes.ignored_ids)}"
    put(root / "classes.toml", text.encode())


def put_labels(
    folder: Path, classes: ClassSet, label_ids: LabelIds, names: dict[str, str], *, table: bool = True
) -> None:
    """The content of `labels/` of a label set: image id -> file."""
    statement = Statement(classes, label_ids)
    for name in names.values():
        put(folder / name, png.encode(statement.values()[TRAIN_IDS]))
    files = describe(statement, [LabelSummary(image, name, (1, 1, 1, 1), 0.9) for image, name in names.items()])
    put(folder / "classes.json", files["labels/classes.json"])
    if table:
        put(folder / "labels.csv", files["labels/labels.csv"])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Images a to d; a hand-made mask of a, in the data set's own ids, in a folder of its own."""
    class_file(tmp_path, class_set(*NAMES))
    for name in ("a", "b", "con", "deep dir/straße"):
        put(tmp_path / "images" / f"{name}.png", b"")
        Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def built(root: Path, **settings: object) -> Manifest:
    config = FolderConfig(source="folder", root=root, **settings)
    return build(config, write_many=pytest.fail, jobs=1, quiet=True).manifest


def read(root: Path, image_id: str, role: str = "fine", **settings: object) -> list[list[int]]:
    manifest = built(root, **settings)
    row = manifest.label(image_id, role)
    assert row is not None
    label = load_label(row, {"source": root}, manifest.classes)
    assert row.counts == tuple(np.bincount(label.ravel(), minlength=256)[[*range(3), 255]].tolist())
    return label.tolist()


@pytest.mark.parametrize("label_ids", ["train", "dataset"])
@pytest.mark.parametrize("table", [True, False])
def test_labels_put_back_are_what_they_were(tree: Path, label_ids: LabelIds, table: bool) -> None:
    names = {"a": "a.png", "deep dir/straße": "deep dir/straße.png"}
    put_labels(tree / "masks", class_set(*NAMES), label_ids, names, table=table)
    for image_id in names:
        assert read(tree, image_id) == TRAIN_IDS.tolist()


def test_without_the_statement_the_same_bytes_are_other_classes(tree: Path) -> None:
    """The danger that the statement is there for; nothing of a label set is left but its pixels."""
    put_labels(tree / "masks", class_set(*NAMES), "train", {"a": "a.png"}, table=False)
    (tree / "masks" / "classes.json").unlink()
    assert read(tree, "a") == [[255, 255, 0], [1, 255, 0]]


def test_a_table_whose_statement_is_gone(tree: Path) -> None:
    """The table shows that the masks are labels of autolabel; the class file may have another order than they."""
    put_labels(tree / "masks", class_set(*NAMES), "train", {"a": "a.png"})
    (tree / "masks" / "classes.json").unlink()
    with pytest.raises(DataError, match=r"labels\.csv: belongs to labels of autolabel, and the classes\.json"):
        plan(FolderConfig(source="folder", root=tree))
    put(tree / "masks" / "labels.csv", b"image,price\na,7\n")  # a table of the user
    assert plan(FolderConfig(source="folder", root=tree)).images[0].labels[0].encoding == "ids"


@pytest.mark.parametrize("label_ids", ["train", "dataset"])
def test_names_decide_when_the_class_file_has_another_order_or_other_ids(tree: Path, label_ids: LabelIds) -> None:
    put_labels(tree / "masks", class_set(*NAMES), label_ids, {"a": "a.png"})
    class_file(tree, class_set("sky", "road", "car", ids=(3, 7, 9)))
    order = np.array([*[1, 2, 0], *range(3, 256)])
    assert read(tree, "a") == order[TRAIN_IDS].tolist()


def test_the_table_says_whose_label_a_changed_name_is(tree: Path) -> None:
    put_labels(tree / "masks", class_set(*NAMES), "train", {"con": "_con~1143da.png", "b": "b.png"})
    assert read(tree, "con") == TRAIN_IDS.tolist()
    (tree / "masks" / "labels.csv").unlink()
    with pytest.raises(DataError, match="masks without an image: _con~1143da"):
        plan(FolderConfig(source="folder", root=tree))


def test_statements_hold_for_coarse_masks_and_subfolders(tree: Path) -> None:
    put(tree / "masks" / "a.png", png.encode(class_set(*NAMES).to_id()[TRAIN_IDS]))
    put_labels(tree / "masks" / "deep dir", class_set(*NAMES), "train", {"straße": "straße.png"})
    put_labels(tree / "coarse", class_set(*NAMES), "train", {"b": "b.png"})
    assert read(tree, "a") == read(tree, "deep dir/straße") == read(tree, "b", "coarse") == TRAIN_IDS.tolist()


def test_masks_of_two_origins(tree: Path) -> None:
    """In the same ids they may lie together; otherwise nothing tells whose ids an unlisted mask has."""
    put(tree / "masks" / "b.png", png.encode(class_set(*NAMES).to_id()[TRAIN_IDS]))
    put_labels(tree / "masks", class_set(*NAMES), "dataset", {"a": "a.png"})
    assert read(tree, "a") == read(tree, "b") == TRAIN_IDS.tolist()
    put_labels(tree / "masks", class_set(*NAMES), "train", {"a": "a.png"})
    with pytest.raises(
        DataError, match=r"masks that labels\.csv does not list, beside labels in other ids: masks/b\.png"
    ):
        plan(FolderConfig(source="folder", root=tree))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("road", "car", "bus"), "'bus' is not in classes.toml, 'sky' is only in classes.toml"),
        (("road", "car"), "'sky' is only in classes.toml"),
        (("road", "car", "sky", "bus"), "'bus' is not in classes.toml"),
    ],
)
def test_other_classes_are_one_error(tree: Path, names: tuple[str, ...], says: str) -> None:
    put_labels(tree / "masks", class_set(*NAMES), "train", {"a": "a.png"})
    other = class_set(*names, ids=(*range(len(names)),), ignored=(255,))
    put(tree / "masks" / "classes.json", Statement(other, "train").to_json())
    with pytest.raises(DataError) as error:
        plan(FolderConfig(source="folder", root=tree))
    assert says in str(error.value)
    assert str(error.value).startswith(str(tree / "masks" / "classes.json"))


def test_an_id_that_the_statement_does_not_know_is_refused(tree: Path) -> None:
    put_labels(tree / "masks", class_set(*NAMES), "train", {"a": "a.png"})
    put(tree / "masks" / "a.png", png.encode(np.full((2, 3), 3, np.uint8)))
    with pytest.raises(DataError, match=r"id 3 \(first at row 0, column 0\)"):
        built(tree)


def test_what_is_wrong_with_statement_and_table(tree: Path) -> None:
    put_labels(tree / "masks", class_set(*NAMES), "train", {"a": "a.png"})
    put(tree / "masks" / "classes.json", b'{"label_ids')
    with pytest.raises(DataError, match=r"classes\.json: is not valid JSON"):
        plan(FolderConfig(source="folder", root=tree))
    put(tree / "masks" / "classes.json", b'{"categories": []}')  # another program's
    (tree / "masks" / "labels.csv").unlink()
    assert plan(FolderConfig(source="folder", root=tree)).images[0].labels[0].encoding == "ids"
    put_labels(tree / "masks", class_set(*NAMES), "train", {"a": "b.png"})
    with pytest.raises(DataError, match=r"masks that labels\.csv does not list"):
        plan(FolderConfig(source="folder", root=tree))
    put_labels(tree / "masks", class_set(*NAMES), "dataset", {"a": "b.png"})
    with pytest.raises(DataError, match=r"labels\.csv: gives an image a label beside its own mask"):
        plan(FolderConfig(source="folder", root=tree))


def test_a_whole_label_set_as_masks_names_the_folder_to_take(tree: Path) -> None:
    put_labels(tree / "set" / "labels", class_set(*NAMES), "train", {"a": "a.png"})
    put(tree / "set" / "classes.json", Statement(class_set(*NAMES), "train").to_json())
    with pytest.raises(DataError, match="its masks are in labels/: name set/labels instead"):
        plan(FolderConfig(source="folder", root=tree, masks="set"))
    assert read(tree, "a", masks="set/labels") == TRAIN_IDS.tolist()


def test_the_statement_enters_the_key_of_the_manifest(tree: Path) -> None:
    put_labels(tree / "masks", class_set(*NAMES), "train", {"a": "a.png"}, table=False)
    settings = FolderConfig(source="folder", root=tree)
    keys = {fingerprint(settings, InputDigests())}
    (tree / "masks" / "classes.json").unlink()
    keys.add(fingerprint(settings, InputDigests()))
    assert len(keys) == 2


sets = st.integers(1, 12).flatmap(
    lambda count: st.tuples(
        st.permutations([f"c{index}" for index in range(count)]),
        st.permutations([f"c{index}" for index in range(count)]),
        st.lists(st.integers(0, 255), min_size=count + 1, max_size=count + 3, unique=True),
        st.lists(st.integers(0, 255), min_size=count + 1, max_size=count + 3, unique=True),
        st.sampled_from(["train", "dataset"]),
    )
)


@given(sets, st.integers(0, 2**32 - 1))
def test_any_label_set_is_read_back_by_names(found: tuple, seed: int) -> None:
    """A class set of any order and ids, written and read as another class set of the same names."""
    theirs, ours, their_ids, our_ids, label_ids = found
    count = len(theirs)
    written, reading = (
        class_set(*names, ids=(*values[:count],), ignored=(*values[count:],))
        for names, values in ((theirs, their_ids), (ours, our_ids))
    )
    train_ids = np.random.default_rng(seed).choice([*range(count), 255], (4, 5)).astype(np.uint8)
    statement = Statement(written, label_ids)
    data, encoding = png.encode(statement.values()[train_ids]), encoding_of(statement, reading)
    label = decode_label(data, where="x", classes=reading, encoding=encoding, max_pixels=20)
    expected = [[255 if value == 255 else ours.index(theirs[value]) for value in row] for row in train_ids.tolist()]
    assert label.tolist() == expected


def test_encodings_of_own_values() -> None:
    assert encoded_values(values_encoding((3, 0), (255, 7))) == ((3, 0), (255, 7))
    for wrong in (
        "values:",
        "values:1,1;2",
        "values:1;1",
        "values:256;0",
        "values:1",
        "values:1;2;3",
        "values:¹;2",
        "ids",
    ):
        assert encoded_values(wrong) is None
    data = png.encode(np.full((1, 1), 9, np.uint8))
    with pytest.raises(LabelError, match="id 9"):
        decode_label(data, where="x", classes=class_set(*NAMES), encoding="values:1,2,3;0", max_pixels=1)
