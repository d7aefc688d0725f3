"""The work of the other ranks of a job: they take part in the steps that rank 0 makes, one after the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from autolabel.config.base import Config
from autolabel.config.schema import Experiment, RuntimeConfig
from autolabel.distributed import ProcessGroup
from autolabel.errors import naming_settings
from autolabel.flow.graph import load_pipeline
from autolabel.flow.stage import Context, setting_name
from autolabel.signals import StopFlag
from autolabel.store import Artefact, join_draft


def encode_task(context: Context[Config], *, runtime: RuntimeConfig, key: str) -> bytes:
    """Encode a step for the other ranks. Artefacts are named by path, so every machine must see the work folder."""
    document = {
        "experiment": context.experiment.model_dump(mode="json"),
        "runtime": runtime.model_dump(mode="json"),
        "step": context.node,
        "folder": str(context.draft.folder),
        "key": key,
        "document": dict(context.document),
        "inputs": {name: str(artefact.path) for name, artefact in context.inputs.items()},
    }
    return json.dumps(document).encode()


def run_worker(world: ProcessGroup, stop: StopFlag) -> None:
    """Until rank 0 says that no more steps come. Raises what a stage raises, and Stopped."""
    number = 0
    while (message := world.receive(number, stop)) is not None:
        _run_task(json.loads(message), world, stop)
        number += 1


def _run_task(document: Mapping[str, Any], world: ProcessGroup, stop: StopFlag) -> None:
    experiment = Experiment.model_validate_json(json.dumps(document["experiment"]))
    node = load_pipeline(experiment).nodes[document["step"]]
    context: Context[Config] = Context(
        node=node.name,
        settings=node.settings,
        seed=node.seed,
        experiment=experiment,
        inputs={name: Artefact.open(Path(path)) for name, path in document["inputs"].items()},
        sources=node.inputs,
        draft=join_draft(Path(document["folder"]), document["key"]),
        runtime=world.runtime_for_rank(RuntimeConfig.model_validate_json(json.dumps(document["runtime"]))),
        stop=stop,
        quiet=True,
        world=world,
        document=document["document"],
    )
    with naming_settings(partial(setting_name, node.settings)):
        node.stage.run(context)
