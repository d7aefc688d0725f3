"""Experiment files of tests: TOML from tables that start at an experiment on synthetic scenes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Settings = dict[str, Any]

SYNTHETIC: Settings = {"name": "x", "data": {"source": "synthetic"}}
NARROW = {"head_channels": 8, "key_channels": 4, "attention_channels": 4}  # widths of a network's head
ONE_CORE = {"threads": 1, "jobs": 1, "device": "cpu"}


def experiment_toml(base: Mapping[str, Any] | None = None, /, **changes: Any) -> str:
    """TOML of an experiment named x on synthetic scenes, with the settings of `base` and then `changes`.

    Tables merge key by key; None removes a key.
    """
    return to_toml(merged(merged(SYNTHETIC, base or {}), changes))


def scenes(height: int, width: int, *, fine: int, coarse: int, val: int) -> Settings:
    """The data table: synthetic scenes of this size, with the number of images per label layer."""
    return {"source": "synthetic", "size": [height, width], "num_fine": fine, "num_coarse": coarse, "num_val": val}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Settings:
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return {key: value for key, value in result.items() if value is not None}


def to_toml(settings: Mapping[str, Any], prefix: str = "") -> str:
    """The values first, then a section per table."""
    tables = {key: value for key, value in settings.items() if isinstance(value, dict)}
    lines = [f"{key} = {_value(value)}\n" for key, value in settings.items() if key not in tables]
    for key, table in tables.items():
        lines.append(f"[{prefix}{key}]\n{to_toml(table, f'{prefix}{key}.')}")
    return "".join(lines)


def _value(value: Any) -> str:
    """A string, number, boolean or list of these as TOML writes it: as JSON does."""
    return json.dumps(value)
