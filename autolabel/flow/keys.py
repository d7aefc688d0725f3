"""Stage keys: what a step is computed from, by content only (design, decision 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autolabel.flow.graph import Node
from autolabel.store import InputDigests, digest_json


def key_document(node: Node, input_digests: Mapping[str, str], files: InputDigests | None = None) -> dict[str, Any]:
    """Everything the output depends on: stage, version, settings, seed, root digests of the inputs.

    `files` digests the files outside the work folder that the settings name.
    """
    return {
        "stage": node.stage.name,
        "version": node.stage.version,
        "seed": node.seed,
        "settings": node.stage.key_settings(node.settings, files or InputDigests()),
        "inputs": dict(input_digests),
    }


def stage_key(document: Mapping[str, Any]) -> str:
    """64 hex digits; the store names folders by the first 16 and keeps the whole document as provenance."""
    return digest_json(document)


def differences(old: Any, new: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted key, old value, new value) wherever two key documents differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in sorted(set(old) | set(new)):
            found += differences(old.get(key), new.get(key), f"{prefix}{key}.")
        return found
    return [] if old == new else [(prefix.rstrip("."), old, new)]
