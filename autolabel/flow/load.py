"""Pipelines are Python files with `build(experiment) -> Pipeline`, shipped in the folder `pipelines/`."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location

from autolabel.config import Experiment
from autolabel.errors import ConfigError
from autolabel.flow.graph import Pipeline
from autolabel.resources import folder


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
