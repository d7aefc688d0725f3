"""The artefacts of an experiment that a command reads without making any."""

from __future__ import annotations

from autolabel.cli.options import Project
from autolabel.errors import ConfigError, DataError
from autolabel.flow.changes import committed
from autolabel.flow.graph import Node
from autolabel.flow.keys import is_input
from autolabel.flow.status import status
from autolabel.store import Artefact


def last_labels(project: Project) -> Node:
    """The step that cuts the labels of the last round. Raises ConfigError for a pipeline without labels."""
    nodes = project.pipeline.of_stage("label")
    if not nodes:
        raise ConfigError(f"pipeline {project.experiment.pipeline}", "makes no labels", "take teacher_student")
    return nodes[-1]


def open_fresh(project: Project, *nodes: Node) -> list[Artefact]:
    """The artefacts of these steps. Raises ConfigError where one is not up to date."""
    steps = {step.name: step for step in status(project.pipeline, project.work)}
    opened = []
    for node in nodes:
        step = steps[node.name]
        if step.state != "fresh" or step.path is None:
            remedy = f"run `autolabel run EXPERIMENT --until {node.name}` first"
            raise ConfigError(f"step {node.name!r}", f"is not up to date ({step.state})", remedy)
        opened.append(Artefact.open(step.path))
    return opened


def open_labels(project: Project) -> tuple[Artefact, Artefact, Artefact]:
    """The label set of the last round, the manifest of its data and its codes; the teacher may be gone."""
    node = last_labels(project)
    labels = _label_set(project, node)
    return labels, _input(project, labels, node, "data"), _input(project, labels, node, "codes")


def last_audit(project: Project, labels: Artefact) -> Artefact | None:
    """The audit of this label set: the one that is up to date, else the newest; None where there is none."""
    for node in project.pipeline.of_stage("audit"):
        for audit in _fresh_first(project, node.name):
            if is_input(labels, audit, "labels"):
                return audit
    return None


def _fresh_first(project: Project, name: str) -> list[Artefact]:
    """The artefacts of a step: first the one that is up to date, then the newest ones."""
    fresh = [step.path for step in status(project.pipeline, project.work) if (step.name, step.state) == (name, "fresh")]
    found = committed(project.work / "artefacts", name)
    return sorted(found, key=lambda artefact: artefact.path not in fresh)


def _label_set(project: Project, node: Node) -> Artefact:
    """The label set of these settings; where a step before it is gone, the only one that is there."""
    step = next(step for step in status(project.pipeline, project.work) if step.name == node.name)
    if step.state == "fresh" and step.path is not None:
        return Artefact.open(step.path)
    found = committed(project.work / "artefacts", node.name)
    if len(found) != 1 or step.state not in ("waiting", "missing"):
        what = (
            f"is not up to date ({step.state})" if len(found) < 2 else f"has {len(found)} label sets, none up to date"
        )
        raise ConfigError(f"step {node.name!r}", what, f"run `autolabel run EXPERIMENT --until {node.name}` first")
    return found[0]


def _input(project: Project, labels: Artefact, node: Node, name: str) -> Artefact:
    """The artefact that the label set was made from, found by its digest or parts. Raises DataError if it is gone."""
    source = node.inputs[name].name
    for artefact in _fresh_first(project, source):
        if is_input(artefact, labels, name):
            return artefact
    raise DataError(labels.path, f"the artefact of step {source!r} that it was made from is gone", "run again")
