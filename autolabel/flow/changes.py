"""Why a step has to be made again: the settings and inputs that differ from those of an earlier artefact, in words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autolabel.artifacts import read_manifest
from autolabel.errors import AutolabelError, CorruptArtefact, StoreError
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.keys import differences
from autolabel.store import Artefact, InputDigests, Kind, newest_first, scan

if TYPE_CHECKING:
    from autolabel.data.parts import PartChange


_COMMITTED: tuple[Kind, ...] = ("committed",)


def committed(root: Path, step: str | None = None, *, kinds: Collection[Kind] = _COMMITTED) -> list[Artefact]:
    """Every artefact below `root`, or one step's, that opens, the newest first; damaged ones are for `verify` to name.

    Several may have read the same parts of a manifest, so the first that fits is the one to take.
    """
    found = []
    for item in scan(root):
        if item.kind in kinds and step in (None, item.node):
            with suppress(CorruptArtefact if item.kind == "committed" else StoreError):
                found.append(Artefact.open(item.path))
    return newest_first(found)


class Why(NamedTuple):
    """`lines` say how a key document differs from an earlier one.

    `parts` are those of a manifest that differ; `unsure` those that may differ: nothing says whether their files do.
    """

    lines: tuple[str, ...] = ()
    parts: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()


def reasons(
    node: Node, document: Mapping[str, Any], inputs: Mapping[str, Artefact], files: InputDigests, artefacts: Path
) -> Why | None:
    """None if the step was never made. `inputs` are the artefacts that it would read; `artefacts` holds all steps."""
    nearest = _nearest(node, document, artefacts)
    if nearest is None:
        return None
    other, changes = nearest
    lines = [_setting(node, *change) for change in changes if not change[0].startswith("inputs.")]
    by_input = [name for name in node.inputs if any(_is_of(name, key) for key, *_ in changes)]
    for name in by_input:
        lines += _input_reasons(node, name, changes, inputs.get(name), artefacts)
    if by_input and node.stage.remark:
        lines.append(node.stage.remark.format(path=other.path))
    content: list[PartChange] = []
    if any(key == "settings.content" for key, *_ in changes):
        with suppress(AutolabelError):  # a run would say what is wrong with the data
            content = node.stage.input_changes(node.settings, files, other)
    if content:
        said = [str(change) for change in content if change.is_certain] or [str(change) for change in content]
        lines = [line for line in lines if not line.startswith(f"{node.name}.content:")] + said
    parts = {change.part for change in content if change.is_certain}
    return Why(tuple(lines), frozenset(parts), frozenset(change.part for change in content) - parts)


def _nearest(
    node: Node, document: Mapping[str, Any], artefacts: Path
) -> tuple[Artefact, list[tuple[str, Any, Any]]] | None:
    """The artefact with the fewest differences, the newest of several."""
    others = [(one, _differences(one.provenance.get("key", {}), document)) for one in committed(artefacts, node.name)]
    return min(others, key=lambda pair: len(pair[1]), default=None)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Without the parts that only one of the documents reads: other settings are the reason then."""
    before, after = old.get("inputs", {}), new["inputs"]
    odd = {f"inputs.{name}.{part}" for name in after for part in _parts(before.get(name)) ^ _parts(after[name])}
    return [change for change in differences(old, new) if change[0] not in odd]


def _parts(identity: Any) -> set[str]:
    return set(identity) if isinstance(identity, Mapping) else set()


def _is_of(name: str, key: str) -> bool:
    return key == f"inputs.{name}" or key.startswith(f"inputs.{name}.")


def _setting(node: Node, key: str, before: Any, after: Any) -> str:
    """`settings.threshold` of step label -> `label.threshold`."""
    head, _, rest = key.partition(".")
    name = f"{node.name}.{rest}" if head == "settings" else f"{node.name} {key}"
    # A digest tells people nothing.
    return f"{name}: other bytes" if _is_digest(before) or _is_digest(after) else f"{name}: {before!r} -> {after!r}"


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _input_reasons(
    node: Node, name: str, changes: Sequence[tuple[str, Any, Any]], now: Artefact | None, artefacts: Path
) -> list[str]:
    """In images and masks where an input is a manifest of which both states are there; else that it has changed."""
    source = node.inputs[name].name
    parts = {key.removeprefix(f"inputs.{name}."): old for key, old, _ in changes if key.startswith(f"inputs.{name}.")}
    if not parts:
        return [f"{source}: made again, with other content"]
    if "classes" in parts:
        return [f"input {source}: the classes have changed"]
    found = [] if now is None else list(map(str, _manifest_changes(parts, now, committed(artefacts, source))))
    return found or [f"input {source}: {', '.join(parts)} changed"]


def _manifest_changes(parts: Mapping[str, str | None], now: Artefact, earlier: Iterable[Artefact]) -> list[PartChange]:
    from autolabel.data.parts import manifest_contents, part_changes

    before = next((made for made in earlier if _has(made, parts)), None)
    if before is None:
        return []
    with suppress(AutolabelError):  # damaged: for `verify` to name
        found = part_changes(manifest_contents(read_manifest(before)), manifest_contents(read_manifest(now)))
        return [change for change in found if change.part in parts and change.is_certain]
    return []


def _has(made: Artefact, parts: Mapping[str, str | None]) -> bool:
    digests = made.meta.get("parts", {})
    return all(digests.get(part) == digest for part, digest in parts.items())


def consequences(pipeline: Pipeline, manifest: Node, why: Why) -> str:
    """The steps that changed parts of a manifest make run again, those that may, and those that stay."""
    again = _affected(pipeline, manifest, set(why.parts)) if why.parts else set()
    perhaps = _affected(pipeline, manifest, set(why.parts | why.unsure)) - again
    after = list(pipeline.nodes)[list(pipeline.nodes).index(manifest.name) + 1 :]
    groups = {
        "these run again": [name for name in after if name in again],
        "these may run again": [name for name in after if name in perhaps],
        "these stay": [name for name in after if name not in again | perhaps],
    }
    return "; ".join(f"{said}: {', '.join(names)}" for said, names in groups.items() if names)


def _affected(pipeline: Pipeline, manifest: Node, parts: set[str]) -> set[str]:
    """Names of the steps that read one of the parts, and of those that read from such a step."""
    again: set[str] = set()
    for node in pipeline.nodes.values():
        reads = node.stage.reads(node.settings)
        for name, source in node.inputs.items():
            own = source is manifest and (name not in reads or parts & set(reads[name]))
            if own or source.name in again:
                again.add(node.name)
    return again
