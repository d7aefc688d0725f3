"""The ledger against sums by hand and the sizes known for Cityscapes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.audit.footprint import Footprint

labels = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 10**6), st.integers(1, 4096), st.integers(1, 4096)), max_size=12
)


def filled(rows, num_classes=19):
    footprint = Footprint(num_classes)
    for group, num_bytes, width, height in rows:
        footprint.add(group, num_bytes=num_bytes, width=width, height=height)
    return footprint


@pytest.mark.slow
@given(labels)
def test_adds_up_by_group(rows):
    result = filled(rows).result()
    assert [g["group"] for g in result["groups"]] == sorted({r[0] for r in rows})
    for group in result["groups"]:
        own = [r for r in rows if r[0] == group["group"]]
        assert group["bytes"] == sum(r[1] for r in own)
        assert group["pixels"] == sum(r[2] * r[3] for r in own)
        assert group["bytes_per_label"] == pytest.approx(group["bytes"] / len(own))
        assert group["bits_per_pixel"] == pytest.approx(8 * group["bytes"] / group["pixels"])
    for key in ("labels", "bytes", "pixels"):
        assert result[key] == sum(g[key] for g in result["groups"])


@pytest.mark.slow
@given(labels)
def test_order_of_labels_does_not_matter_and_the_result_is_json(rows):
    result = filled(rows).result(codes_bytes=7)
    assert json.dumps(result, allow_nan=False) == json.dumps(filled(rows[::-1]).result(codes_bytes=7))


def test_alternatives_of_this_set():
    result = filled([("x", 1000, 100, 50), ("y", 3000, 100, 50)], num_classes=11).result()
    assert [(a["name"], a["bytes"], a["times"]) for a in result["alternatives"]] == [
        ("11 × float32", 440_000, 110.0),
        ("11 × float16", 220_000, 55.0),
        ("11 × uint8", 110_000, 27.5),
        ("hard uint8, raw", 10_000, 2.5),
    ]
    assert result["alternatives"][0]["formula"] == "10,000 pixels × 11 × 4 B = 440 kB"


def test_extrapolation_gives_the_published_sizes():
    result = filled([("city", 30_000, 1920, 1080)]).result(codes_bytes=60_000)
    own, reference = result["extrapolations"]
    assert [a["formula"].split(" = ")[1] for a in own["alternatives"]] == ["3.15 TB", "1.58 TB", "788 GB", "41.5 GB"]
    assert [a["formula"].split(" = ")[1] for a in reference["alternatives"]] == [
        "3.19 TB",
        "1.59 TB",
        "797 GB",
        "41.9 GB",
    ]
    assert own["labels_bytes"] == own["labels_bytes_outline"] == 600_000_000
    assert own["codes_bytes"] == 1_200_000_000
    growth = 2048 * 1024 / (1920 * 1080)
    assert reference["labels_bytes"] == round(600e6 * growth)
    assert reference["labels_bytes_outline"] == round(600e6 * growth**0.5)
    assert own["alternatives"][1]["times"] == pytest.approx(1.576e12 / 600e6, rel=1e-3)


def test_says_that_two_terabytes_equals_no_raw_size():
    note = filled([]).result()["note"]
    assert "3.15 TB" in note
    assert "float16, the nearest, 1.58 TB" in note


def test_an_empty_set_divides_by_nothing():
    result = filled([]).result(codes_bytes=0)
    assert result["labels"] == 0
    assert result["bytes_per_label"] is None
    assert result["codes_bits_per_pixel"] is None
    assert result["extrapolations"] == []
    assert {a["times"] for a in result["alternatives"]} == {None}
