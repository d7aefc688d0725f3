"""Suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], *, fold: Callable[[str], str] = str) -> str:
    """A remedy such as "did you mean 'car'?", empty if no known name is similar. Names are compared after `fold`."""
    folded = {fold(other): other for other in known}
    near = get_close_matches(fold(name), folded, n=1)
    return f"did you mean {folded[near[0]]!r}?" if near else ""
