from __future__ import annotations

from autolabel.audit.leaks import leak_guard


def test_names_validation_images_that_trained_the_teacher():
    result = leak_guard(["a", "b", "d", "c"], {"d", "x", "b"})
    assert result["leaked"] == ["b", "d"]
    assert result["warning"].startswith("2 of 3 validation images trained the teacher (first: b)")


def test_is_silent_when_the_sets_are_apart():
    assert leak_guard(iter(["a"]), iter(["x"])) == {"leaked": [], "complete": True, "warning": None}


def test_does_not_call_clean_what_it_cannot_know():
    result = leak_guard([], ["x"], complete=False)
    assert result["leaked"] == []
    assert "is not known" in result["warning"]
    assert "1 of 1 validation images" in leak_guard(["x"], ["x"], complete=False)["warning"]
