"""Wrong settings of a late step end a run before its first step begins, not after the hours in between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from autolabel.config.schema import Experiment
from autolabel.flow.graph import Node
from autolabel.flow.stage import PreflightContext

if TYPE_CHECKING:
    from autolabel.data.sources.base import SourceListing


def preflight(experiment: Experiment, nodes: Iterable[Node], *, num_processes: int = 1) -> SourceListing:
    """Raise what the first of the steps would refuse once its turn has come; returns what the source holds.

    Raises ConfigError and DataError.
    """
    from autolabel.data.build import plan

    data = plan(experiment.data)
    for node in nodes:
        given = {name: source.settings for name, source in node.inputs.items()}
        node.stage.check(PreflightContext(node.settings, given, data, num_processes, experiment.runtime))
    return data
