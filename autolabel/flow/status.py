"""The steps that are up to date, and why others are not. It reads commit records and changed inputs only: no torch.

Garbage collection: what this experiment no longer refers to, deleted only on request (promise P4).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autolabel.errors import AutolabelError, CorruptArtefact
from autolabel.flow.changes import consequences, reasons
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.keys import input_identities, key_document, stage_key
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
    artefact: Artefact | None = field(default=None, repr=False, compare=False)


def status(pipeline: Pipeline, work: Path) -> list[StepStatus]:
    """One line a step, in order."""
    current: dict[str, Artefact] = {}
    files = InputDigests(work / INPUT_DIGESTS)
    found = []
    for node in pipeline.nodes.values():
        step = _one(pipeline, node, work / "artefacts", current, files)
        if step.artefact is not None and step.state == "fresh":
            current[node.name] = step.artefact
        found.append(step)
    return found


def _one(
    pipeline: Pipeline, node: Node, artefacts: Path, current: dict[str, Artefact], files: InputDigests
) -> StepStatus:
    folder = artefacts / node.name

    def step(state: str, artefact: Artefact | None, *why: str) -> StepStatus:
        path = artefact.path if artefact else None
        digest, bad = (artefact.digest, artefact.provenance.get("bad_items", 0)) if artefact else (None, 0)
        return StepStatus(node.name, node.stage.name, state, path, why, digest, bad, artefact)

    waiting = [source.name for source in node.inputs.values() if source.name not in current]
    if waiting:
        return step("waiting", None, f"waits for {', '.join(dict.fromkeys(waiting))}")
    if not folder.is_dir():
        files = InputDigests(read=False)  # never made: its key decides nothing, and may cost the reading of a data set
    try:
        inputs = {name: current[source.name] for name, source in node.inputs.items()}
        document = key_document(node, input_identities(node, inputs), files)
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
    why = reasons(node, document, inputs, files, artefacts)
    if why is None:
        return step("missing", None, "never made")
    return step("stale", None, *why.lines, *([consequences(pipeline, node, why)] if why.parts | why.unsure else []))


def _named(pipeline: Pipeline) -> set[Path]:
    """The paths that settings name, and all folders they lie in: `ARTEFACT/data/weights.safetensors` is one.

    They are resolved, for the same folder may be reached through `..` and through links.
    """
    found: set[Path] = set()
    for node in pipeline.nodes.values():
        for path in _paths(node.settings.model_dump()):
            real = Path(os.path.realpath(path))
            found |= {real, *real.parents}
    return found


def _paths(value: object) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _paths(member)


def unreferenced(pipeline: Pipeline, work: Path) -> list[WorkFolderItem]:
    """The items that gc may delete: all except artefacts of up-to-date steps and items of steps still to be done.

    A step that waits or is stale keeps its earlier artefacts and drafts: the settings may be changed back. An artefact
    that the settings name stays, too: a training may start from its weights.
    """
    steps = {step.name: step for step in status(pipeline, work)}
    wanted = {step.path for step in steps.values() if step.state == "fresh"}
    named = _named(pipeline)
    found = []
    for item in scan(work / "artefacts"):
        step = steps.get(item.node)
        settled = step is None or step.state == "fresh"
        kept = item.path in wanted or Path(os.path.realpath(item.path)) in named
        if item.kind in ("corrupt", "trash") or (settled and not kept):
            found.append(item)
    return found
