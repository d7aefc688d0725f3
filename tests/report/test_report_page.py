"""The page as a whole: well formed, self-contained, safe with foreign names, and always the same bytes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.report.build import render_report
from autolabel.report.data import Example, ReportData
from autolabel.report.sections import SECTIONS
from tests.helpers.paths import ROOT
from tests.report.report_example import SHAPE, example_data, image, maps

_VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Collects tags, text and attributes, and checks that every element is closed in its place."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html.decode("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"repeated attribute in {tag}: {attrs}"
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"stray </{tag}>"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data

    def sections(self):
        return [attrs["id"] for tag, attrs in self.tags if tag == "section"]


@pytest.fixture(scope="module")
def data():
    return example_data()


@pytest.mark.slow
def test_every_part_shows_once(data):
    page = Page(render_report(data))
    assert page.sections() == list(SECTIONS)
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == [*(f"#{name}" for name in SECTIONS), "../../../label/0123/data/", "../../../fuse/0123/data/"]
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)


@pytest.mark.slow
def test_shows_the_figures(data):
    text = Page(render_report(data)).text
    for figure in ("100.0", "fine + coarse", "street leaks", "900 B", "300 B", "digest-street", "0.5, 1, 2"):
        assert figure in text


@pytest.mark.slow
def test_needs_no_network_and_no_scripts(data):
    html = render_report(data)
    page = Page(html)
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "base", "form"} == set()
    for tag, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs), (tag, attrs)
        assert attrs.get("src", "data:image/").startswith("data:image/")
        assert attrs.get("href", "#").startswith(("#", "../../../label/", "../../../fuse/"))
    assert not re.search(rb"url\(|@import|https?://", html)
    assert b"default-src 'none'" in html


@pytest.mark.slow
def test_images_say_what_they_are_and_how_large(data):
    images = [attrs for tag, attrs in Page(render_report(data)).tags if tag == "img"]
    # An example of four labels, three of them judged or overlaid; two scales of attention; a worst image with errors.
    assert len(images) == 7 + 6 + 4
    for attrs in images:
        assert (int(attrs["width"]), int(attrs["height"])) == SHAPE[::-1]
        assert attrs["alt"]


STRANGE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "]]></style>", "a & b <b>"]


@pytest.mark.slow
@pytest.mark.parametrize("word", STRANGE)
def test_names_from_outside_are_text(word):
    plain = Page(render_report(example_data(names=("road", "car", "person"))))
    page = Page(render_report(example_data(names=(word, word + "2", word + "3"), word=word)))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert page.text.count(word) > 20


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.text(st.characters(codec=None), min_size=1, max_size=12))
def test_any_text_makes_a_well_formed_page(word):
    page = Page(render_report(ReportData(title=word, names=(word,), palette=((1, 2, 3),), warnings=(word,))))
    assert page.sections() == []


def test_what_cannot_be_seen_is_spelled_out():
    html = render_report(example_data(word="a\u202eb\x1b[31m\udc80\x00"))
    assert rb"a\u202eb\x1b[31m\udc80\x00" in html
    assert "\u202e".encode() not in html
    assert b"\x00" not in html


@pytest.mark.slow
def test_same_data_same_bytes_in_another_process(data):
    code = (
        "import sys, tests.report.report_example as e, autolabel.report.build as b;"
        "sys.stdout.buffer.write(b.render_report(e.example_data()))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "77"}
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, check=True).stdout
    assert render_report(data) == other


@pytest.mark.slow
def test_the_order_of_keys_does_not_matter(data):
    """Results are read from JSON files with sorted keys."""

    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in sorted(value, reverse=True)}
        return [turned(v) for v in value] if isinstance(value, list) else value

    parts = ("footprint", "coverage", "ignored", "evidence", "auto_truth", "coarse_truth", "coarse_agreement")
    other = replace(data, **{name: turned(getattr(data, name)) for name in parts})
    assert render_report(other) == render_report(data)


PARTS = {
    "worst": {"worst": ()},
    "training": {"curves": {}},
    "next": {"labels_link": "", "next_steps": ()},
    "examples": {"examples": ()},
    "results": {"scores": ()},
    "worth": {"auto_truth": None, "coarse_truth": None, "coarse_agreement": None, "ignored": None},
    "rounds": {"changes": {}},
    "balance": {"coverage": None},
    "thresholds": {"evidence": None},
    "attention": {"attention": ()},
    "footprint": {"footprint": None},
    "run": {"stages": (), "settings": {}, "versions": {}},
}


@pytest.mark.slow
@pytest.mark.parametrize("section", PARTS)
def test_a_missing_part_leaves_its_section_out(data, section):
    page = Page(render_report(replace(data, **PARTS[section])))
    assert page.sections() == [name for name in SECTIONS if name != section]


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["coarse", "auto", "reference"])
def test_an_example_may_lack_a_label(data, missing):
    example = replace(data.examples[0], **{missing: None})
    page = Page(render_report(replace(data, examples=(example,))))
    alts = {attrs["alt"] for tag, attrs in page.tags if tag == "img" and "prediction" not in attrs["alt"].lower()}
    names = {"coarse": "Coarse label", "auto": "Auto label", "reference": "street"}
    assert {name for name in names.values() if name in alts} == set(names.values()) - {names[missing]}
    assert ("Below each label" in page.text) == (missing != "reference")


@pytest.mark.slow
def test_no_truth_and_no_coarse_labels(data):
    bare = Example("x", image(1), auto=maps(2))
    none = {"auto_truth": None, "coarse_truth": None, "coarse_agreement": None, "threshold": None}
    changes = {"2": {**data.changes["2"], "truth": {"before": None, "after": None}}}
    text = Page(render_report(replace(data, examples=(bare,), changes=changes, **none))).text
    assert "truth" not in text.lower()
    assert "Why pixels are labelled or ignored" in text


@pytest.mark.slow
def test_a_single_scale_has_no_attention_to_show(data):
    single = replace(data.attention[0], scales=data.attention[0].scales[:1])
    assert "attention" not in Page(render_report(replace(data, attention=(single,)))).sections()


@pytest.mark.slow
def test_equal_weights_of_the_scales_are_said_and_not_shown(data):
    weight = np.full(SHAPE, 0.5, np.float32)
    views = tuple(replace(view, weight=weight) for view in data.attention[0].scales)
    found = Page(render_report(replace(data, attention=(replace(data.attention[0], scales=views),))))
    assert "gives each scale the same weight" in found.text
    assert "weight, " not in found.text
    assert "weight, " in Page(render_report(data)).text


def test_an_error_of_single_images_that_is_not_known_is_not_stated():
    group = {"group": "monday", "images": 3, "accuracy": 0.5, "unknown": False}
    for error, shown in ((None, False), (0.125, True)):
        shift = {"held_out": 3, "accuracy": 0.5, "error": error, "groups": [group]}
        text = Page(render_report(example_data(shift=shift, examples=(), attention=()))).text
        assert "50.0 % are expected to be right" in text
        assert ("For a single image the prediction was off by 12.5 % on average." in text) == shown
        assert ("was off by" in text) == shown


@pytest.mark.slow
def test_undefined_figures_are_dashes_not_nan(data):
    nothing = dict.fromkeys(data.names)
    blank = {**data.scores[0].result, "miou": None, "accuracy": None, "iou": nothing}
    scores = tuple(replace(s, result=blank) for s in data.scores)
    page = Page(render_report(replace(data, scores=scores)))
    assert "results" in page.sections()
    assert not re.search(r"\b(nan|None)\b", page.text)


def test_many_classes_and_networks():
    count = 116
    names = tuple(f"class {c}" for c in range(count))
    result = {
        "miou": 0.5,
        "iou": dict.fromkeys(names, 0.5),
        "accuracy": 0.5,
        "matrix": np.ones((count, count + 1), int).tolist(),
    }
    data = example_data()
    scores = tuple(replace(data.scores[1], name=f"s{i}", result=result) for i in range(8))
    html = render_report(ReportData(title="many", names=names, palette=((1, 2, 3),) * count, scores=scores))
    assert Page(html).sections() == ["results"]
    assert len(html) < 1_000_000


@pytest.mark.slow
def test_large_images_are_scaled_down():
    big = np.random.default_rng(0).integers(0, 256, (1024, 2048, 3), dtype=np.uint8)
    labels = maps(1).repeat(86, axis=0)[:1024].repeat(86, axis=1)[:, :2048]
    example = Example("big", big, labels, labels, labels)
    html = render_report(example_data(examples=(example,) * 4, attention=()))
    assert len(html) < 5_000_000


def test_refuses_a_palette_of_another_length():
    with pytest.raises(AssertionError, match="1 names, 2 colours"):
        render_report(ReportData(title="x", names=("a",), palette=((1, 2, 3), (4, 5, 6))))


@pytest.mark.slow
def test_a_class_is_marked_at_its_own_threshold():
    """It shows in the chart and the caption of the class, and nowhere else."""
    plain, own = (
        [re.sub(r"\s+", " ", row) for row in re.findall(r'<div><span class="sw".*?</div>', page.decode(), flags=re.S)]
        for page in (
            render_report(example_data()),
            render_report(example_data(class_thresholds={"car": 0.9})),
        )
    )
    assert len(plain) == len(own)
    changed = [(before, after) for before, after in zip(plain, own, strict=True) if before != after]
    assert len(changed) == 1
    ((before, after),) = changed
    assert "at 0.5:" in before
    assert "at 0.9:" in after
    marks = [re.search(r'<line[^>]*class="marked"[^>]*>', row)[0] for row in (before, after)]
    assert marks[0] != marks[1]
    assert "car 0.9" in render_report(example_data(class_thresholds={"car": 0.9})).decode()
