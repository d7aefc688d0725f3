"""One finding of `doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """`remedy` says what to do where it is not `ok`."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
