"""Class balance and the reasons for ignoring, against loops over pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autolabel.audit.coverage import ClassBalance, IgnoredLedger, never_labelled

NAMES = ["road", "car", "train"]
maps = hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 255]))


def test_balance_of_two_layers():
    balance = ClassBalance(NAMES)
    balance.add("auto", (6, 2, 0, 2))
    balance.add("auto", np.array([8, 0, 0, 2]))
    balance.add("coarse", (5, 0, 0, 5))
    result = balance.result()
    assert result["classes"] == NAMES
    assert list(result["layers"]) == ["coarse", "auto"]
    auto = result["layers"]["auto"]
    assert (auto["images"], auto["pixels"], auto["ignored_share"]) == (2, 20, 0.2)
    assert auto["share"] == {"road": 0.7, "car": 0.1, "train": 0.0}
    assert auto["balance"] == {"road": 14 / 16, "car": 2 / 16, "train": 0.0}
    assert auto["images_with"] == {"road": 2, "car": 1, "train": 0}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_classes_that_people_drew_and_the_teacher_never_gave_are_named():
    balance = ClassBalance([*NAMES, "pole"])
    balance.add("fine", (5, 1, 0, 1, 0))
    balance.add("coarse", (5, 1, 0, 0, 1))
    assert never_labelled(balance.result()) == [], "without auto labels there is nothing to say"
    balance.add("auto", (6, 0, 0, 0, 1))
    assert never_labelled(balance.result()) == ["car", "pole"], "nobody drew a train"


def test_a_layer_without_pixels_is_undefined():
    balance = ClassBalance(NAMES)
    balance.add("fine", (0, 0, 0, 0))
    layer = balance.result()["layers"]["fine"]
    assert layer["ignored_share"] is None
    assert set(layer["balance"].values()) == {None}


def test_refuses_counts_of_another_class_set():
    with pytest.raises(AssertionError, match="3 counts for 3 classes"):
        ClassBalance(NAMES).add("fine", (1, 2, 3))


def test_reasons_add_up_over_images():
    ledger = IgnoredLedger(NAMES)
    ledger.add({"kept": 10, "filled": 2, "low_confidence": 5, "veto": 3, "no_prediction": 0})
    ledger.add({"kept": 18, "filled": 0, "low_confidence": 1, "veto": 0, "no_prediction": 1})
    result = ledger.result()
    assert (result["pixels"], result["ignored"]) == (40, 10)
    assert result["reasons"]["low_confidence"] == {"pixels": 6, "share": 0.15}
    assert list(result["reasons"]) == ["kept", "filled", "low_confidence", "veto", "no_prediction"]
    assert set(result["lost"].values()) == {None}


@pytest.mark.slow
@given(st.lists(st.tuples(maps, maps), max_size=3))
def test_lost_share_equals_a_loop(images):
    ledger = IgnoredLedger(NAMES)
    won, lost = [0, 0, 0], [0, 0, 0]
    for final, winner in images:
        ledger.add_maps(final, winner)
        for f, w in zip(final.ravel().tolist(), winner.ravel().tolist(), strict=True):
            if w < 3:
                won[w] += 1
                lost[w] += f == 255
    result = ledger.result()
    assert list(result["lost"].values()) == [a / b if b else None for a, b in zip(lost, won, strict=True)]
    json.dumps(result, allow_nan=False)


def test_alarm_names_a_class_that_is_nearly_gone():
    ledger = IgnoredLedger(NAMES)
    winner = np.array([0] * 50 + [2] * 50, np.uint8)
    kept = np.array([0] * 50 + [255] * 47 + [2] * 3, np.uint8)
    ledger.add_maps(kept, winner)
    assert ledger.result()["alarms"] == ["train lost 94 % of the pixels that the teacher gave it"]
