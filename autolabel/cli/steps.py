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


class Steps:
    """The steps of an experiment as they are now, and their artefacts; the work folder is looked at once."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._found = {step.name: step for step in status(project.pipeline, project.work)}

    def open_fresh(self, *nodes: Node) -> list[Artefact]:
        """The artefacts of these steps. Raises ConfigError where one is not up to date."""
        opened = []
        for node in nodes:
            step = self._found[node.name]
            if step.state != "fresh" or step.artefact is None:
                remedy = f"run `autolabel run EXPERIMENT --until {node.name}` first"
                raise ConfigError(f"step {node.name!r}", f"is not up to date ({step.state})", remedy)
            opened.append(step.artefact)
        return opened

    def open_labels(self) -> tuple[Artefact, Artefact, Artefact]:
        """The label set of the last round, the manifest of its data and its codes; the teacher may be gone."""
        node = last_labels(self._project)
        labels = self._label_set(node)
        return labels, self._input(labels, node, "data"), self._input(labels, node, "codes")

    def last_audit(self, labels: Artefact) -> Artefact | None:
        """The audit of this label set: the one that is up to date, else the newest; None where there is none."""
        return self.last_made("audit", labels)

    def last_made(self, stage: str, labels: Artefact) -> Artefact | None:
        """The artefact that a stage made of this label set: the one that is up to date, else the newest, or None."""
        for node in self._project.pipeline.of_stage(stage):
            for artefact in self._fresh_first(node.name):
                if is_input(labels, artefact, "labels"):
                    return artefact
        return None

    def _fresh_first(self, name: str) -> list[Artefact]:
        """The artefacts of a step: first the one that is up to date, then the newest ones."""
        step = self._found.get(name)
        fresh = step.path if step is not None and step.state == "fresh" else None
        return sorted(committed(self._project.work / "artefacts", name), key=lambda artefact: artefact.path != fresh)

    def _label_set(self, node: Node) -> Artefact:
        """The label set of these settings; where a step before it is gone, the only one that is there."""
        step = self._found[node.name]
        if step.state == "fresh" and step.artefact is not None:
            return step.artefact
        found = committed(self._project.work / "artefacts", node.name)
        if len(found) != 1 or step.state not in ("waiting", "missing"):
            what = (
                f"is not up to date ({step.state})"
                if len(found) < 2
                else f"has {len(found)} label sets, none up to date"
            )
            raise ConfigError(f"step {node.name!r}", what, f"run `autolabel run EXPERIMENT --until {node.name}` first")
        return found[0]

    def _input(self, labels: Artefact, node: Node, name: str) -> Artefact:
        """The artefact that the label set was made from, by its digest or parts. Raises DataError if it is gone."""
        source = node.inputs[name].name
        for artefact in self._fresh_first(source):
            if is_input(artefact, labels, name):
                return artefact
        raise DataError(labels.path, f"the artefact of step {source!r} that it was made from is gone", "run again")
