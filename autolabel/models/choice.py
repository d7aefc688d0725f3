"""Choosing by name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeVar

from autolabel.errors import ConfigError

Entry = TypeVar("Entry")


def choose(kind: str, name: str, entries: dict[str, Entry], *, also: Iterable[str] = ()) -> Entry:
    """The entry of that name. ConfigError with the known names otherwise, and `also` what is no entry of this table."""
    if name in entries:
        return entries[name]
    known = ", ".join([*sorted(entries), *also])
    raise ConfigError(f"model.{kind}", f"unknown {kind} {name!r}", f"{did_you_mean(name, entries)}known: {known}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The beginning of a remedy; empty where no known name is near."""
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}? " if close else ""
