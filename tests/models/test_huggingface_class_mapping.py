from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import ConfigError
from autolabel.models.huggingface.class_mapping import NONE, check_covered, match_classes

OURS = ("road", "traffic light", "Car")


def test_names_that_read_the_same_are_the_same() -> None:
    theirs = ["Traffic_Light", "traffic-light ", "CAR", "bus", "ROAD"]
    assert match_classes(theirs, OURS, {}, where="x") == (1, 1, 2, NONE, 0)


def test_the_table_comes_first_and_may_leave_out() -> None:
    table = {"bus": "car", "Car": "ignore", "road": "", "lamp": "Traffic-Light"}
    assert match_classes(["road", "car", "bus", "lamp"], OURS, table, where="x") == (NONE, NONE, 2, 1)


def test_a_class_of_ours_may_be_named_ignore() -> None:
    assert match_classes(["void"], ("road", "ignore"), {"void": "ignore"}, where="x") == (1,)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"buss": "car"}, "class_map: 'buss' is no class of the network; did you mean 'bus'?"),
        ({"bus": "cat"}, "class_map: 'cat' is no class of the experiment; did you mean 'Car'?"),
        ({"bus": "zebra"}, "it has road, traffic light, Car"),
    ],
)
def test_unknown_names_in_the_table(table: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match="x: class_map") as caught:
        match_classes(["bus", "road"], OURS, table, where="x")
    assert says in str(caught.value)


def test_names_of_ours_that_read_the_same() -> None:
    with pytest.raises(ConfigError, match="'traffic light' and 'traffic_light' have the same name"):
        match_classes(["a"], ("traffic light", "traffic_light"), {}, where="x")


def test_a_network_without_a_class_of_ours() -> None:
    with pytest.raises(ConfigError, match=r"none of its 2 classes \(cat, dog\) is one of road, .*; map them"):
        check_covered((NONE, NONE), ["cat", "dog"], OURS, where="x")
    check_covered((NONE, 2), ["cat", "car"], OURS, where="x")


NAME = st.text(alphabet="abcXYZ", min_size=1, max_size=5)
GAP = st.sampled_from([" ", "-", "_", "  ", "_-"])


@pytest.mark.slow
@given(st.lists(NAME, min_size=1, max_size=4), st.data())
def test_any_spelling_of_a_name_finds_it(words: list[str], data: st.DataObject) -> None:
    def spelt() -> str:
        text = words[0]
        for word in words[1:]:
            text += data.draw(GAP) + word
        return data.draw(st.sampled_from([text, text.upper(), text.lower(), f" {text} "]))

    assert match_classes([spelt()], ["1", spelt(), "2"], {}, where="x") == (1,)
    assert match_classes([spelt()], ["1", "2"], {spelt(): "2"}, where="x") == (1,)
