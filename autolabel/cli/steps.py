"""The artefacts of an experiment that a command reads without making any."""

from __future__ import annotations

from autolabel.cli.options import Project
from autolabel.errors import ConfigError
from autolabel.flow.graph import Node
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
