from __future__ import annotations

from autolabel.audit.leaks import leak_guard


def test_names_validation_images_that_trained_the_teacher():
    result = leak_guard(["a", "b", "d", "c"], {"d", "x", "b"})
    assert result["leaked"] == ["b", "d"]
    assert result["warning"].startswith("2 of 3 validation images trained the teacher (first: b)")


def test_is_silent_when_the_sets_are_apart():
    assert leak_guard(iter(["a"]), iter(["x"])) == {"leaked": [], "warning": None}
