"""Checks before a run: wrong settings of a late step end it before its first step begins, not hours later."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from autolabel.config.schema import Experiment
from autolabel.errors import naming_settings
from autolabel.flow.graph import Node
from autolabel.flow.stage import PreflightContext, setting_name

if TYPE_CHECKING:
    from autolabel.data.sources.base import SourceListing


def preflight(experiment: Experiment, nodes: Iterable[Node], *, num_processes: int = 1) -> SourceListing:
    """Check every step as far as settings and source listing tell; returns the listing.

    Raises ConfigError and DataError.
    """
    from autolabel.data.sources.registry import plan

    data = plan(experiment.data)
    for node in nodes:
        inputs = {name: source.settings for name, source in node.inputs.items()}
        with naming_settings(partial(setting_name, node.settings)):
            node.stage.check(PreflightContext(node.settings, inputs, data, num_processes, experiment.runtime))
    return data
