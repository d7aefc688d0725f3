"""Charts, parsed again: marks are at the places of their numbers, and names stay text."""

from __future__ import annotations

import itertools
import math
from xml.etree import ElementTree

import pytest

from autolabel.report import charts, svg

RED = (255, 0, 0)


def parsed(markup):
    root = ElementTree.fromstring(str(markup))
    assert root.tag == "svg"
    return root


def marked(root, kind, tag=None):
    return [e for e in root.iter(tag) if kind in e.get("class", "").split()]


def test_balance_marks_stand_on_a_logarithmic_scale():
    rows = [charts.ClassRow("a", RED, [0.1, 0.001]), charts.ClassRow("b", RED, [None, 0.01])]
    root = parsed(charts.balance_chart(rows, title="t"))
    first = [float(e.get("cx")) for e in marked(root, "s0", "circle")]
    second = [float(e.get("cx")) for e in marked(root, "s1", "circle")]
    assert len(first) == 1
    assert first[0] - second[1] == pytest.approx(second[1] - second[0], abs=0.05)  # one step each
    assert next(e.get("cy") for e in marked(root, "s1", "circle")) == marked(root, "s0", "circle")[0].get("cy")


def test_balance_puts_nothing_left_of_the_scale():
    root = parsed(charts.balance_chart([charts.ClassRow("a", RED, [0.0, 0.02])], title="t"))
    nothing, something = (float(marked(root, f"s{k}", "circle")[0].get("cx")) for k in (0, 1))
    zero = next(e for e in root.iter("text") if e.text == "0")
    assert nothing == float(zero.get("x")) < something


def test_balance_without_any_value():
    root = parsed(charts.balance_chart([charts.ClassRow("a", RED, [None])], title="t"))
    assert marked(root, "s0") == []


def test_iou_bars_are_as_long_as_the_numbers():
    rows = [charts.ClassRow("a", RED, [0.5, 1.0]), charts.ClassRow("b", RED, [None, 0.25])]
    root = parsed(charts.iou_chart(rows, title="t"))
    lengths = [float(e.get("width")) for k in (0, 1) for e in marked(root, f"s{k}", "rect")]
    assert lengths == pytest.approx([lengths[1] / 2, lengths[1], lengths[1] / 4], abs=0.02)


def test_size_bars_are_as_long_as_the_decades():
    bars = [charts.Bar("x", 1e4, "10 kB", True), charts.Bar("y", 1e7, "10 MB", False), charts.Bar("z", 1e13, "", False)]
    root = parsed(charts.size_chart(bars, title="t"))
    (measured,) = (float(e.get("width")) for e in marked(root, "s0", "rect"))
    lengths = [float(e.get("width")) for e in marked(root, "calculated", "rect")]
    assert [length / measured for length in lengths] == pytest.approx([4, 10], rel=1e-3)  # from 1 kB
    ticks = [e.text for e in marked(root, "tick")]
    assert ticks == ["1 kB", "1 MB", "1 GB", "1 TB"]


@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_size_chart_of_hardly_anything(size):
    root = parsed(charts.size_chart([charts.Bar("x", size, "", True)], title="t"))
    assert [e.text for e in marked(root, "tick")] == ["1 B", "10 B"]


def test_curves_go_through_their_points():
    curve = charts.Curve("right", [(0.0, 0.6), (0.5, None), (1.0, 1.0)])
    root = parsed(charts.curve_chart([curve], marked=0.5, x_name="t", title="t"))
    (path,) = marked(root, "curve")
    assert path.get("d") == "M46.00 286.00 L490.00 12.00"
    (line,) = marked(root, "marked")
    assert float(line.get("x1")) == (46 + 490) / 2
    assert len(marked(root, "s0", "circle")) == 2


def test_names_at_the_ends_of_curves_do_not_cover_each_other():
    curves = [charts.Curve(name, [(0.0, 0.9), (1.0, y)]) for name, y in (("a", 0.9), ("b", 0.901), ("c", 0.902))]
    root = parsed(charts.curve_chart(curves, marked=None, x_name="t", title="t"))
    heights = sorted(float(e.get("y")) for e in marked(root, "strong"))
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 15
    assert marked(root, "marked") == []


def test_small_curves_of_a_class_never_predicted():
    root = parsed(charts.small_curves([charts.Curve("kept", [(0.0, None)])], marked=0.5, title="t"))
    assert marked(root, "curve")[0].get("d") == ""


def test_stack_fills_the_bar():
    root = parsed(charts.stack_chart([0.5, 0.3, 0.2], title="t"))
    starts = [float(e.get("x")) for e in root.iter("rect")]
    assert starts == [0, 270, 432]


def test_every_series_has_a_style():
    assert {charts.series(i) for i in range(20)} == {f"s{i}" for i in range(6)}
    marks = [str(svg.mark(i, 0, 0)) for i in range(4)]
    assert len(set(marks)) == 4


def test_names_are_text():
    name = '<a href="x">&amp;</a>'
    row = charts.ClassRow(name, RED, [0.5])
    for root in (
        parsed(charts.balance_chart([row], title=name)),
        parsed(charts.iou_chart([row], title=name)),
        parsed(charts.curve_chart([charts.Curve(name, [(0, 1)])], marked=None, x_name=name, title=name)),
    ):
        texts = [e.text for e in root.iter() if e.text]
        assert root.find("title").text == name
        assert any(text.startswith('<a href="x">') for text in texts[1:])
        assert not list(root.iter("a"))


def test_attributes_are_escaped():
    assert svg.tag("g", data_x='"<&') == '<g data-x="&#34;&lt;&amp;"></g>'
    assert svg.tag("g", "<b>", svg.tag("b"), x=None, y=1.5) == '<g y="1.5">&lt;b&gt;<b></b></g>'


def test_decades_include_both_ends():
    assert svg.decades(1e-4, 1.0) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert svg.decades(50, 2000) == [100, 1000]


def test_scales_are_clipped():
    assert [svg.linear(0, 2, 10, 20)(v) for v in (-1, 1, 5)] == [10, 15, 20]
    assert svg.logarithmic(1, 100, 0, 2)(0) == 0
    assert svg.logarithmic(1, 100, 0, 2)(10) == pytest.approx(1)
    assert not math.isnan(svg.linear(1, 1, 0, 1)(1))
