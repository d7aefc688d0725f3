"""Input files against the manifests that were made of them: every byte is read, whatever size and times say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from autolabel.artifacts import read_manifest
from autolabel.config.schema import Experiment
from autolabel.flow.changes import committed
from autolabel.flow.graph import Pipeline
from autolabel.flow.status import status
from autolabel.store import Artefact, InputDigests


class InputCheck(NamedTuple):
    files: int  # number of files that were read
    problems: tuple[tuple[Path, str], ...]  # each file that differs, and how


def check_inputs(pipeline: Pipeline, experiment: Experiment, work: Path) -> InputCheck:
    """Compare the data with the manifest in use, or the newest one if none is up to date.

    Raises CorruptArtefact for a damaged manifest. Rendered scenes have no input files.
    """
    root = getattr(experiment.data, "root", None)
    manifest = _manifest(pipeline, work)
    if root is None or manifest is None:
        return InputCheck(0, ())
    tables = read_manifest(manifest)
    expected = {row.path: row.sha256 for row in tables.images if row.root == "source"}
    expected |= {row.path: row.sha256 for row in tables.labels if row.root == "source"}
    return InputCheck(len(expected), tuple(_problems(root, expected)))


def _manifest(pipeline: Pipeline, work: Path) -> Artefact | None:
    names = {node.name for node in pipeline.of_stage("manifest")}
    fresh = [step.path for step in status(pipeline, work) if step.name in names and step.state == "fresh"]
    if fresh and fresh[0] is not None:
        return Artefact.open(fresh[0])
    found = (artefact for artefact in committed(work / "artefacts") if artefact.path.parent.name in names)
    return next(found, None)


def _problems(root: Path, expected: dict[str, str]) -> Iterator[tuple[Path, str]]:
    present: Iterable[str] = [path for path in expected if (root / path).is_file()]
    digests = InputDigests().of_files(root, present)
    for path in sorted(expected):
        if path not in digests:
            yield root / path, "is missing"
        elif digests[path] is None:
            yield root / path, "cannot be read"
        elif digests[path] != expected[path]:
            yield root / path, "its bytes differ from what the manifest describes"
