"""Class sets: published figures, tables against loops, files and what is wrong in them."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.classes import (
    CLASS_SETS,
    IGNORE,
    ClassSet,
    mapillary_classes,
    parse_class_file,
    parse_mask_classes,
    read_class_set,
)
from autolabel.classes.palettes import default_palette
from autolabel.errors import ConfigError, ManifestError


@st.composite
def class_sets(draw: st.DrawFn) -> ClassSet:
    count = draw(st.integers(1, 40))
    used = draw(st.lists(st.integers(0, 255), min_size=count, max_size=min(256, count + 9), unique=True))
    names = draw(st.lists(st.text(min_size=1).filter(str.strip), min_size=count, max_size=count, unique=True))
    byte = st.integers(0, 255)
    palette = draw(st.lists(st.tuples(byte, byte, byte), min_size=count, max_size=count))
    return ClassSet("any", tuple(names), tuple(palette), tuple(used[:count]), tuple(used[count:]))


def test_cityscapes_is_as_published() -> None:
    classes = CLASS_SETS["cityscapes"]
    assert classes.num_classes == 19
    assert classes.ids == (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
    assert (classes.names[0], classes.names[13], classes.names[18]) == ("road", "car", "bicycle")
    assert (classes.palette[0], classes.palette[13], classes.palette[18]) == (
        (128, 64, 128),
        (0, 0, 142),
        (119, 11, 32),
    )
    assert np.flatnonzero(classes.legal()).tolist() == list(range(34))


def test_camvid_is_as_its_readme_says(shared) -> None:
    text = (shared / "camvid" / "README.md").read_text()
    classes = CLASS_SETS["camvid"]
    listed = text.split("Classes: ")[1].split(", 11 void")[0]
    assert listed == ", ".join(f"{k} {name}" for k, name in enumerate(classes.names))
    palette = text.split("Palette: ")[1].split("; void")[0]
    assert palette == "; ".join(",".join(map(str, colour)) for colour in classes.palette)
    assert classes.ignored_ids == (11,)


@pytest.mark.slow
@given(class_sets())
def test_tables_against_loops(classes: ClassSet) -> None:
    to_train, legal, to_id, colours = classes.to_train(), classes.legal(), classes.to_id(), classes.colours()
    free = [value for value in range(256) if value not in classes.ids]
    nothing = classes.ignored_ids[0] if classes.ignored_ids else free[-1]
    for value in range(256):
        assert to_train[value] == (classes.ids.index(value) if value in classes.ids else IGNORE)
        assert legal[value] == (value in classes.ids or value in classes.ignored_ids)
        is_class = value < classes.num_classes
        assert to_id[value] == (classes.ids[value] if is_class else nothing)
        assert tuple(colours[value]) == (classes.palette[value] if is_class else (0, 0, 0))
    assert (to_train[to_id[: classes.num_classes]] == np.arange(classes.num_classes)).all()


@pytest.mark.slow
@given(class_sets())
def test_dict_round_trip_through_json(classes: ClassSet) -> None:
    assert ClassSet.from_dict(json.loads(json.dumps(classes.to_dict()))) == classes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["a"]}, "palette has 2 entries for 1 names"),
        ({"names": ["a", "a"]}, r"names\[1\] repeats 'a'"),
        ({"names": ["a", " "]}, r"names\[1\] must be a non-empty string"),
        ({"names": "ab"}, "expected a list"),
        ({"ids": [0, 256]}, r"ids\[1\] must be a number from 0 to 255"),
        ({"ids": [0, True]}, r"ids\[1\]"),
        ({"ids": [0, [1]]}, r"ids\[1\]"),
        ({"ids": [3, 3]}, r"ids\[1\] repeats id 3"),
        ({"ignored_ids": [1]}, r"ignored_ids\[0\] repeats id 1 of ids\[1\]"),
        ({"palette": [[0, 0, 0], [0, 0, 300]]}, r"palette\[1\]"),
        ({"palette": [[0, 0, 0], [0, 0]]}, r"palette\[1\]"),
        ({"name": ""}, "needs a name"),
        ({"extra": 1}, "has the keys"),
    ],
)
def test_wrong_dicts_are_refused(change: dict, message: str) -> None:
    table = {"name": "x", "names": ["a", "b"], "palette": [[0, 0, 0], [1, 1, 1]], "ids": [0, 1], "ignored_ids": [255]}
    assert ClassSet.from_dict(table).num_classes == 2
    with pytest.raises(ManifestError, match=message):
        ClassSet.from_dict(table | change, "classes.json")


def test_too_many_classes_are_refused() -> None:
    names = [f"c{k}" for k in range(256)]
    with pytest.raises(ConfigError, match="1 to 255 classes"):
        parse_class_file(f"names = {json.dumps(names)}", "classes.toml")


def test_class_file_defaults() -> None:
    classes = parse_class_file('names = ["lawn", "path"]', "classes.toml")
    assert (classes.ids, classes.ignored_ids, classes.names) == ((0, 1), (255,), ("lawn", "path"))
    assert len({*default_palette(255), (0, 0, 0)}) == 256  # distinct, and none is the black of "no class"


def test_voc_palette_is_as_published() -> None:
    assert default_palette(5) == ((128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128))


def test_class_file_with_everything() -> None:
    text = 'name = "g"\nnames = ["a", "b"]\nids = [3, 5]\npalette = [[1, 2, 3], [4, 5, 6]]\nignored_ids = [0, 9]'
    assert parse_class_file(text, "f") == ClassSet("g", ("a", "b"), ((1, 2, 3), (4, 5, 6)), (3, 5), (0, 9))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('names = ["a"]\nids = 3x', r"not valid TOML: .*line 2, column"),
        ("", "names: Field required"),
        ("names = [1]", r"names\.0"),
        ('names = ["a"]\npallete = []', "unknown key 'pallete', did you mean 'palette'"),
        ('nmaes = ["a"]', "unknown key 'nmaes', did you mean 'names'"),
        ("names = 1" + "0" * 5000, "not valid TOML"),
        ("names = " + "[" * 5000, "not valid TOML"),
        ('names = ["a", "b"]\nids = [1]', "ids has 1 entries for 2 names"),
        ('names = ["a"]\npalette = [[1, 2]]', r"palette\.0"),
        ('names = ["a"]\nids = [1.5]', r"ids\.0"),
        ('names = ["a"]\nids = [255]\nignored_ids = [255]', "id 255 stands for two classes, or for a class and for no"),
        ('names = ["a", "b"]\nids = [[1, 2], 2]', "id 2 stands for two classes"),
        ('names = ["a"]\nids = [[]]', r"ids\[0\] is an empty list"),
        ('names = ["a"]\nids = [65536]', "number from 0 to 65535, not 65536"),
        ('names = ["a"]\nids = [-1]', "number from 0 to 65535, not -1"),
        ('names = ["a"]\npalette = "vok"', "no published palette is named 'vok'"),
        ('names = ["lawn"]\npalette = "cityscapes"', "Cityscapes has no class 'lawn'"),
        ('names = ["a", "b"]\npalette = [[1, 1, 1], [1, 1, 1]]\nmerge = { c = "a" }', "merge: no class is named 'c'"),
        ('names = ["a", "b"]\ndrop = ["c"]', "drop: no class is named 'c'"),
        ('names = ["a", "b"]\ndrop = ["a", "b"]', "1 to 255 classes are possible, not 0"),
        ('names = ["a", "b"]\ndrop = ["a"]\nmerge = { a = "b" }', "'a' is merged and dropped"),
        ('names = ["a", "b"]\nmerge = { a = "b", b = "a" }', "a -> b -> a leads back"),
        ('names = ["a"]\nignored_ids = [0]', "id 0 stands for"),
        ('names = ["a"]\npalette = [[1, 1, 1]]\nignored_colours = [[1, 1, 1]]', r"colour \(1, 1, 1\) stands for"),
    ],
)
def test_wrong_class_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_class_file(text, "classes.toml")
    assert str(caught.value).startswith("classes.toml: ")
    assert "\n" not in str(caught.value)


@given(st.text())
def test_any_text_parses_or_is_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_class_file(text, "f").num_classes >= 1


MERGED = """
names = ["road", "person", "rider", "car", "truck", "sky"]
ids = [7, 24, 25, 26, [27, 300], 23]
palette = "cityscapes"
ignored_ids = [0]
merge = { rider = "person", car = "vehicle", truck = "vehicle" }
drop = ["sky"]
"""


def test_merged_and_dropped_classes() -> None:
    masks = parse_mask_classes(MERGED, "f")
    assert masks.classes.names == ("road", "person", "vehicle")
    assert masks.classes.ids == (7, 24, 26)
    assert masks.classes.ignored_ids == (0, 23)
    assert masks.classes.palette == ((128, 64, 128), (220, 20, 60), (0, 0, 142))
    assert masks.ids == {7: 0, 24: 1, 25: 1, 26: 2, 27: 2, 300: 2, 23: IGNORE, 0: IGNORE}
    assert masks.colours[(255, 0, 0)] == masks.colours[(220, 20, 60)] == 1  # rider and person
    assert masks.colours[(0, 0, 70)] == 2
    assert masks.colours[(70, 130, 180)] == masks.colours[(0, 0, 0)] == masks.colours[(0, 60, 100)] == IGNORE
    assert not masks.in_place


@pytest.mark.parametrize(
    ("text", "in_place"),
    [
        ("", True),
        ("ids = [0, 255]", True),
        ("ids = [3, 4]\nignored_ids = [0, 255]", True),
        ("ids = [3, [4, 5]]", False),
        ('drop = ["b"]', True),
        ('merge = { b = "a" }', False),
        ("ids = [3, 300]", False),
    ],
)
def test_masks_that_the_class_set_alone_reads(text: str, in_place: bool) -> None:
    assert parse_mask_classes(f'names = ["a", "b"]\n{text}', "f").in_place is in_place


def test_an_object_of_id_255_is_a_class_and_nothing_is_ignored() -> None:
    classes = parse_class_file('names = ["background", "car"]\nids = [0, 255]', "f")
    assert (classes.ids, classes.ignored_ids) == ((0, 255), ())
    assert classes.to_train()[[0, 255, 7]].tolist() == [0, 1, IGNORE]
    assert np.flatnonzero(classes.legal()).tolist() == [0, 255]


def test_ids_of_16_bits_give_label_files_of_train_ids() -> None:
    masks = parse_mask_classes('names = ["a", "b"]\nids = [1000, 3]\nignored_ids = [65535]', "f")
    assert (masks.classes.ids, masks.classes.ignored_ids) == ((0, 1), (255,))
    assert masks.ids == {1000: 0, 3: 1, 65535: IGNORE}


def test_the_voc_palette_follows_the_ids() -> None:
    masks = parse_mask_classes('names = ["background", "bird", "cat"]\nids = [0, 3, 8]\npalette = "voc"', "f")
    assert masks.colours == {(0, 0, 0): 0, (128, 128, 0): 1, (64, 0, 0): 2, (224, 224, 192): IGNORE}
    assert masks.classes.palette == ((0, 0, 0), (128, 128, 0), (64, 0, 0))


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse_class_file('\ufeffnames = ["a"]', "f").names == ("a",)
    assert read_class_set('\ufeff{"labels": [{"name": "a", "color": [1, 2, 3], "evaluate": true}]}', "f").names == (
        "a",
    )


def mapillary_config(flags: list[bool]) -> dict:
    labels = [{"name": f"c--{k}", "readable": f"C {k}", "color": [k, 0, 1], "evaluate": e} for k, e in enumerate(flags)]
    return {"version": "2.0", "labels": labels}


def test_mapillary_takes_evaluated_labels_in_order() -> None:
    classes = mapillary_classes(mapillary_config([True, False, True, False]), "config.json")
    assert (classes.names, classes.ids, classes.ignored_ids) == (("c--0", "c--2"), (0, 2), (1, 3))
    assert classes.palette == ((0, 0, 1), (2, 0, 1))


@pytest.mark.parametrize("config", [None, [], {}, {"labels": []}, {"labels": [3]}, {"labels": [{"name": "x"}]}])
def test_mapillary_refuses_other_files(config: object) -> None:
    with pytest.raises(ManifestError, match=r"config\.json"):
        mapillary_classes(config, "config.json")
    with pytest.raises(ManifestError):
        mapillary_classes(mapillary_config([False]), "config.json")
