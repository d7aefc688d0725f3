"""Lookup of trunks, heads and fusions by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from autolabel.errors import SettingError
from autolabel.suggest import did_you_mean

Entry = TypeVar("Entry")


def choose(kind: str, name: str, entries: dict[str, Entry], *, also: Iterable[str] = ()) -> Entry:
    """The entry `name`, else ConfigError with the known names; `also` lists names that are not in `entries`."""
    if name in entries:
        return entries[name]
    known = f"known: {', '.join([*sorted(entries), *also])}"
    raise SettingError(f"model.{kind}", f"unknown {kind} {name!r}", f"{did_you_mean(name, entries)} {known}".strip())
