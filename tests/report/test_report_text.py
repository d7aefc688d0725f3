"""Numbers as words, and the sentences at the top."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autolabel.evaluation.intervals import TOO_FEW
from autolabel.report import text
from autolabel.report.build import render_report
from autolabel.report.summary import best, headline, leader, story
from tests.report.report_example import example_data


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0, "0.0 %"),
        (0.632, "63.2 %"),
        (1.0, "100.0 %"),
        (0.0054, "0.54 %"),
        (0.00994, "0.99 %"),
        (0.00996, "1.0 %"),
        (0.000042, "0.0042 %"),
        (1e-9, "< 0.001 %"),
    ],
)
def test_percent(value, shown):
    assert text.percent(value) == shown


def test_gain_has_a_sign():
    assert text.gain(0.863, 0.854) == "+0.9"
    assert text.gain(0.5, 0.52) == "−2.0"
    assert text.gain(0.5001, 0.5) == "±0.0"
    assert text.gain(None, 0.5) == text.gain(0.5, None) == text.points(None) == text.times(None) == "–"


def test_times_and_points():
    assert [text.times(v) for v in (2.51, 9.99, 5300.4)] == ["2.5 ×", "10.0 ×", "5,300 ×"]
    assert text.points(0.854) == "85.4"


def test_an_interval_or_why_there_is_none():
    assert text.ends(0.5, (0.412, 0.45)) == "95 %: 41.2 to 45.0"
    assert text.ends(0.5, None) == TOO_FEW == "too few images for an interval"
    assert text.ends(None, None) == ""


def test_two_images_have_no_interval_anywhere():
    """Tiles, table of results, label quality and rounds: the example has one or two images."""
    data = example_data(
        changes={"2": {**example_data().changes["2"], "truth_interval": dict.fromkeys(("before", "after"))}}
    )
    page = render_report(data).decode()
    assert "95 %:" not in page
    assert page.count(TOO_FEW) > 6
    assert "2 images: too few images for an interval." in page
    assert "Small figures" not in page


def test_a_teacher_without_pixels_of_its_own_has_no_figure():
    data = example_data()
    none = replace(data, own_truth={**data.own_truth, "accuracy": None, "coverage": 0.0})
    assert "Teacher's own right" in values(data)
    assert "Teacher's own right" not in values(none)
    assert "teacher's own pixels" in " ".join(story(data))
    assert "teacher's own pixels" not in " ".join(story(none))


def test_corrected_labels_are_told_and_linked():
    page = render_report(example_data()).decode()
    assert "People corrected 1,500 pixels of 2 labels" in page
    assert '<a href="../../../fuse/0123/data/">The corrected labels</a>: people set 1,500 pixels of 2 images' in page
    without = render_report(example_data(corrected=None)).decode()
    assert "orrected" not in without


def test_clean_keeps_words_and_spells_out_the_rest():
    assert text.clean("Straße 街 a<b") == "Straße 街 a<b"
    assert text.clean("a\nb\u202e\udc80") == r"a\nb\u202e\udc80"


def values(data):
    return {tile.name: tile.value for tile in headline(data)}


def test_headline_figures():
    shown = values(example_data())
    assert shown["Student mIoU"] == "100.0"
    assert (shown["Auto labels"], shown["On disk"]) == ("1", "300 B")
    labels = {"Auto labels", "On disk", "Ignored", "Labels right", "Teacher's own right"}
    assert set(shown) == {"Teacher mIoU", "Student mIoU"} | labels


def test_headline_leaves_out_what_is_not_known():
    data = example_data(scores=(), footprint=None, coverage=None, auto_truth=None, corrected=None)
    assert headline(data) == []
    assert story(data) == []


def test_story_names_the_gain_over_the_first_student():
    data = example_data()
    first = data.scores[1].result["miou"]
    assert story(data)[0] == (
        f"The best student, trained on fine + auto, reaches 100.0 mIoU: +{100 * (1 - first):.1f} against the one "
        "trained on fine + coarse."
    )


def test_story_admits_that_nothing_was_gained():
    data = example_data()
    worse = replace(data.scores[0], name="other", role="student")
    data = replace(data, scores=(data.scores[2], worse))
    assert story(data)[0].startswith("No student beats the baseline, trained on fine + auto: 100.0")


def test_best_ignores_undefined_scores():
    data = example_data()
    undefined = replace(data.scores[2], result={**data.scores[2].result, "miou": None})
    assert best(replace(data, scores=(data.scores[1], undefined)), "student") is data.scores[1]
    assert best(replace(data, scores=(undefined,)), "student") is None


def test_ties_and_losses_are_not_in_bold():
    """A network leads only if its figure, as it is printed, is above all others."""
    data = example_data()
    teacher, _, student = data.scores
    assert leader(data) is student
    tie = replace(
        teacher, result={**teacher.result, "miou": student.result["miou"] - 1e-5, "iou": student.result["iou"]}
    )
    tied = replace(data, scores=(tie, student))
    assert leader(tied) is None
    assert leader(replace(data, scores=(student,))) is None
    page = render_report(tied).decode()
    assert 'class="best"' not in page
    assert '<tr class="used"><th>student' not in page
    assert 'class="best"' in render_report(data).decode()


def test_a_student_below_its_teacher_is_said_first():
    data = example_data()
    teacher, _, student = data.scores
    lost = replace(data, scores=(replace(teacher, result=student.result), replace(student, result=teacher.result)))
    assert story(lost)[0].startswith("No student reaches its teacher: the best one is at −")


def test_the_teachers_own_pixels_stand_apart():
    data = example_data()
    assert data.own_truth["coverage"] < data.auto_truth["coverage"]
    assert "the teacher's own pixels, without those that people drew, cover" in " ".join(story(data))
    unfilled = replace(data, own_truth=data.auto_truth)
    assert "Teacher's own right" not in values(unfilled)
    assert "teacher's own" not in " ".join(story(unfilled))
