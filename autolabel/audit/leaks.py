"""Leak guard: figures measured on images that trained the teacher are worthless."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict


class LeakResult(TypedDict):
    leaked: list[str]  # sorted
    complete: bool  # whether all of the teacher's training images are known
    warning: str | None


def leak_guard(training: Iterable[str], validation: Iterable[str], *, complete: bool = True) -> LeakResult:
    """Find the validation images that trained the teacher; both sides are image ids, or both are content digests.

    Digests also match a copy of an image under another name. `complete` is False where the teacher started from weights
    of unknown training: then there may be leaks that nobody can find.
    """
    held_out = set(validation)
    leaked = sorted(held_out & set(training))
    warning = None
    if not complete:
        warning = (
            "What the teacher's weights were trained on before is not known: if validation images were among it, "
            "figures measured on them are too good"
        )
    if leaked:
        warning = (
            f"{len(leaked)} of {len(held_out)} validation images trained the teacher (first: {leaked[0]}): "
            "every figure measured on them is too good"
        )
    return LeakResult(leaked=leaked, complete=complete, warning=warning)
