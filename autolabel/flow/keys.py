"""Stage keys: what a step is computed from, by content only (design, decision 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autolabel.flow.graph import Node
from autolabel.store import Artefact, InputDigests, digest_json


def input_identities(node: Node, inputs: Mapping[str, Artefact]) -> dict[str, Any]:
    """The entry of each input in the key: its root digest, or the digests of the parts that the stage reads."""
    reads = node.stage.reads(node.settings)
    return {name: _identity(artefact, reads.get(name)) for name, artefact in inputs.items()}


def _identity(artefact: Artefact, parts: Sequence[str] | None) -> str | dict[str, str | None]:
    if parts is None:
        return artefact.digest
    digests = artefact.meta.get("parts", {})
    return {part: digests.get(part) for part in parts}


def is_input(artefact: Artefact, made: Artefact, name: str) -> bool:
    """Whether this artefact is what `made` read as its input `name`, or has the same parts, where it read parts."""
    identity = made.provenance.get("key", {}).get("inputs", {}).get(name)
    if isinstance(identity, Mapping):
        return "parts" in artefact.meta and _identity(artefact, list(identity)) == dict(identity)
    return bool(artefact.digest == identity)


def key_document(node: Node, input_digests: Mapping[str, Any], files: InputDigests | None = None) -> dict[str, Any]:
    """Everything the output depends on: stage, version, settings, seed, inputs (see `input_identities`).

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
