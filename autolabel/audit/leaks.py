"""Leak guard: figures measured on images that trained the teacher say nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict


class LeakResult(TypedDict):
    leaked: list[str]  # sorted
    warning: str | None


def leak_guard(training: Iterable[str], validation: Iterable[str]) -> LeakResult:
    """Which validation images trained the teacher; both sides are image ids, or both are content digests.

    Digests also find a copy of the same picture under another name.
    """
    held_out = set(validation)
    leaked = sorted(held_out & set(training))
    warning = None
    if leaked:
        warning = (
            f"{len(leaked)} of {len(held_out)} validation images trained the teacher (first: {leaked[0]}): "
            "every figure measured on them is too good"
        )
    return LeakResult(leaked=leaked, warning=warning)
