"""The graph of a pipeline: nodes in the order they were added, wiring checked as it is written.

Pipelines are Python files with `build(experiment) -> Pipeline`, shipped in the folder `pipelines/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any, TypeVar

from autolabel.config.base import Config
from autolabel.config.schema import Experiment
from autolabel.errors import ConfigError
from autolabel.flow.stage import Stage
from autolabel.resources import folder

S = TypeVar("S", bound=Config)


@dataclass(frozen=True, eq=False)
class Node:
    """A stage with its settings and the nodes it reads from; `name` is also its folder's name."""

    name: str
    stage: Stage[Any]
    settings: Config
    seed: int
    inputs: Mapping[str, Node]


@dataclass
class Pipeline:
    """Nodes in topological order (a node can only read from nodes added before it)."""

    nodes: dict[str, Node] = field(default_factory=dict)
    headline: Node | None = None  # the evaluation whose mIoU stands for the student

    def add(
        self, name: str, stage: Stage[S], settings: S, *, seed: int = 0, **inputs: Node | Mapping[str, Node]
    ) -> Node:
        """Add a step; raises ConfigError when an input is missing, unknown or of the wrong kind."""
        if name in self.nodes:
            raise ConfigError(f"pipeline step {name!r}", "is there twice", "give it another name")
        node = Node(name, stage, settings, seed, _flatten(inputs))
        _check_wiring(node, self.nodes)
        self.nodes[name] = node
        return node

    def of_stage(self, stage: str) -> list[Node]:
        return [node for node in self.nodes.values() if node.stage.name == stage]

    def select(self, name: str) -> list[Node]:
        """The nodes a user means by a step's or a stage's name."""
        found = [self.nodes[name]] if name in self.nodes else self.of_stage(name)
        if not found:
            raise ConfigError(f"step {name!r}", "is not in this pipeline", f"one of: {', '.join(self.nodes)}")
        return found

    def needed_for(self, targets: list[Node]) -> list[Node]:
        """The targets and everything they read from, in order."""
        wanted: set[str] = set()
        stack = list(targets)
        while stack:
            node = stack.pop()
            wanted.add(node.name)
            stack.extend(node.inputs.values())
        return [node for node in self.nodes.values() if node.name in wanted]


def _flatten(inputs: Mapping[str, Any]) -> dict[str, Node]:
    flat: dict[str, Node] = {}
    for name, value in inputs.items():
        if isinstance(value, Node):
            flat[name] = value
        else:
            flat.update({f"{name}.{key}": node for key, node in value.items()})
    return flat


def _check_wiring(node: Node, known: Mapping[str, Node]) -> None:
    where = f"pipeline step {node.name!r}"
    declared = node.stage.inputs
    for name, source in node.inputs.items():
        family = f"{name.split('.')[0]}.*" if "." in name else name
        kind = declared.get(family) or declared.get(f"{family}?")
        if kind is None:
            raise ConfigError(
                where, f"stage {node.stage.name!r} has no input {name!r}", f"it has: {', '.join(declared)}"
            )
        if kind != source.stage.output:
            raise ConfigError(where, f"input {name!r} wants {kind}, {source.name!r} makes {source.stage.output}")
        if known.get(source.name) is not source:
            raise ConfigError(where, f"reads from {source.name!r}, which is not in this pipeline", "add it first")
    missing = [name for name in declared if name[-1] not in "*?" and name not in node.inputs]
    if missing:
        raise ConfigError(where, f"input {missing[0]!r} is missing", "wire it")


def load_pipeline(experiment: Experiment) -> Pipeline:
    """Build the pipeline an experiment names; raises ConfigError for an unknown one."""
    known = sorted(file.stem for file in folder("pipelines").glob("[a-z]*.py"))
    if experiment.pipeline not in known:
        raise ConfigError(f"pipeline = {experiment.pipeline!r}", "is not known", f"one of: {', '.join(known)}")
    file = folder("pipelines") / f"{experiment.pipeline}.py"
    spec = spec_from_file_location(f"autolabel.pipelines.{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    pipeline = module.build(experiment)
    assert isinstance(pipeline, Pipeline), file
    return pipeline
