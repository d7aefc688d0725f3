"""The steps that are up to date, and why others are not. It reads commit records and changed inputs only: no torch.

Garbage collection: what this experiment no longer refers to, deleted only on request (promise P4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolabel.errors import AutolabelError, CorruptArtefact
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.keys import differences, key_document, stage_key
from autolabel.store import INPUT_DIGESTS, Artefact, InputDigests, WorkFolderItem, find, scan
from autolabel.store.artefact import partial_path


@dataclass(frozen=True)
class StepStatus:
    """State of one step.

    fresh: committed for just these settings and inputs; partial: begun; stale: committed for others only;
    missing: never made; waiting: its inputs are not up to date, so its key is not known yet; corrupt: damaged.
    """

    name: str
    stage: str
    state: str
    path: Path | None
    why: tuple[str, ...]
    digest: str | None
    bad_items: int = 0  # in quarantine: the step is done without them


def status(pipeline: Pipeline, work: Path) -> list[StepStatus]:
    """One line a step, in order."""
    current: dict[str, Artefact] = {}
    files = InputDigests(work / INPUT_DIGESTS)
    found = []
    for node in pipeline.nodes.values():
        step, artefact = _one(node, work / "artefacts" / node.name, current, files)
        if artefact is not None and step.state == "fresh":
            current[node.name] = artefact
        found.append(step)
    return found


def _one(
    node: Node, folder: Path, current: dict[str, Artefact], files: InputDigests
) -> tuple[StepStatus, Artefact | None]:
    def step(state: str, artefact: Artefact | None, *why: str) -> tuple[StepStatus, Artefact | None]:
        path = artefact.path if artefact else None
        digest, bad = (artefact.digest, artefact.provenance.get("bad_items", 0)) if artefact else (None, 0)
        return StepStatus(node.name, node.stage.name, state, path, why, digest, bad), artefact

    waiting = [source.name for source in node.inputs.values() if source.name not in current]
    if waiting:
        return step("waiting", None, f"waits for {', '.join(dict.fromkeys(waiting))}")
    if not folder.is_dir():
        files = InputDigests(read=False)  # never made: its key decides nothing, and may cost the reading of a data set
    try:
        digests = {name: current[source.name].digest for name, source in node.inputs.items()}
        document = key_document(node, digests, files)
    except AutolabelError as error:  # the source folder is gone, say: status still tells the rest
        return step("missing", None, str(error))
    key = stage_key(document)
    try:
        artefact = find(folder, key)
    except CorruptArtefact as error:
        return step("corrupt", None, str(error))
    if artefact is not None:
        problems = artefact.verify()
        return step("corrupt", artefact, *problems) if problems else step("fresh", artefact)
    if partial_path(folder, key).is_dir():
        return step("partial", None, "begun, not finished: run again to go on")
    others = list(committed(folder.parent, folder.name))
    if not others:
        return step("missing", None, "never made")
    changes = min((_changes(node, other, document, current) for other in others), key=len)
    return step("stale", None, *changes)


def committed(root: Path, step: str | None = None) -> Iterator[Artefact]:
    """Every artefact below `root`, or one step's, that opens; damaged ones are for `verify` to name."""
    for found in scan(root):
        if found.kind == "committed" and step in (None, found.node):
            with suppress(CorruptArtefact):
                yield Artefact.open(found.path)


def _changes(node: Node, other: Artefact, document: dict[str, Any], current: Mapping[str, Artefact]) -> list[str]:
    """The differences to another artefact, by the settings they come from; no digests, which tell people nothing."""
    old = other.provenance.get("key", {})
    lines: list[str] = []
    for key, before, after in differences(old, document):
        source = node.inputs.get(key.removeprefix("inputs.")) if key.startswith("inputs.") else None
        if source is not None:
            lines += _input_changes(source, before, other.path.parents[1], current)
        elif _is_digest(before) or _is_digest(after):
            lines.append(f"{_readable(node, key)}: other bytes")
        else:
            lines.append(f"{_readable(node, key)}: {before!r} -> {after!r}")
    return list(dict.fromkeys(lines))


def _input_changes(source: Node, digest: object, root: Path, current: Mapping[str, Artefact]) -> list[str]:
    """The settings that make an input differ from the earlier one with this digest, as far as that is still there."""
    earlier = next((made for made in committed(root, source.name) if made.digest == digest), None)
    document = current[source.name].provenance.get("key", {})
    changes = [] if earlier is None else _changes(source, earlier, document, current)
    return changes or [f"{source.name}: made again, with other content"]


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _readable(node: Node, key: str) -> str:
    """`settings.threshold` of step label -> `label.threshold`."""
    head, _, rest = key.partition(".")
    if head == "settings":
        return f"{node.name}.{rest}"
    return f"{node.name} {key}"


def unreferenced(pipeline: Pipeline, work: Path) -> list[WorkFolderItem]:
    """The items that gc may delete: all except artefacts of up-to-date steps and items of steps still to be done.

    A step that waits or is stale keeps its earlier artefacts and drafts: the settings may be changed back.
    """
    steps = {step.name: step for step in status(pipeline, work)}
    wanted = {step.path for step in steps.values() if step.state == "fresh"}
    found = []
    for item in scan(work / "artefacts"):
        step = steps.get(item.node)
        settled = step is None or step.state == "fresh"
        if item.kind in ("corrupt", "trash") or (settled and item.path not in wanted):
            found.append(item)
    return found
