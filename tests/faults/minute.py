"""Minute experiments: real stages on a handful of noise images, as cases that a fault can hit one step at a time.

All networks are so small that a whole pipeline takes less than a CPU second, once everything it imports is imported.
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from autolabel.cli.options import Project, RunOptions, load_project
from autolabel.cli.running import running
from autolabel.config.load import load_experiment
from autolabel.flow.graph import Node
from autolabel.signals import StopFlag
from autolabel.store import Artefact, digest_json, scan
from tests.faults import harness, warm
from tests.helpers.experiments import NARROW, ONE_CORE, experiment_toml

_TRAINING = {
    "crop": [32, 32],
    "batch": 2,
    "epochs": 1,
    "loss": "ce",
    "tile": 32,
    "model": {**NARROW, "trunk": "resnet_tiny", "fusion": "single", "head_channels": 4},
}
# A stage repeats at most one of these after a fault (P3); a stage without items here starts again as a whole.
ITEMS = {
    "infer": r"/data/.*\.h5$",
    "label": r"/data/.*\.png$",
    "teacher": r"/state/",  # a checkpoint stands for the steps up to it
    "student": r"/state/",
}
TORCH_FREE = ("manifest", "label", "audit", "fuse")


@dataclass(frozen=True)
class Minute:
    """An experiment, run once: `whole` is its work folder."""

    folder: Path
    project: Project
    whole: Path
    targets: dict[tuple[str, bool], harness.Target] = field(default_factory=dict)  # measured so far: name, for a kill

    def nodes(self, *stages: str) -> list[Node]:
        return [node for node in self.project.pipeline.nodes.values() if not stages or node.stage.name in stages]

    def scenario(self, target: str | None) -> harness.Scenario:
        """Up to a step, or all: the digest stands for all steps that were needed."""
        wanted = self.project.pipeline.select(target) if target else list(self.project.pipeline.nodes.values())

        def run(root: Path) -> str:
            project = Project(self.project.experiment, self.project.pipeline, root)
            with running(project, RunOptions(None, None, True, False), StopFlag()) as runner:
                done = runner.run(project.pipeline, wanted)
            return digest_json([(item.node.name, item.artefact.digest) for item in done])

        return run

    def template(self, target: str, name: str) -> Path:
        """A work folder in which everything before a step is done."""
        folder = self.folder / "templates" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            for node in self.project.pipeline.needed_for(self.project.pipeline.select(target)):
                if node.name != target:
                    shutil.copytree(self.whole / "artefacts" / node.name, folder / "artefacts" / node.name)
        return folder

    def case(self, step: str, fault: harness.Fault = harness.kill) -> harness.Target:
        """One step."""
        stage = self.project.pipeline.nodes[step].stage.name
        return self.upto(step, self.template(step, step), stage=stage, fault=fault)

    def upto(self, step: str, template: Path, *, stage: str, fault: harness.Fault = harness.kill) -> harness.Target:
        """Up to a step, where all work that has items is that of one stage."""
        experiment = self.project.experiment
        batch = experiment.infer.chunk * (1 + experiment.label.weights) if stage == "label" else 1
        return self.measured(self.scenario(step), template, batch=batch, items=ITEMS.get(stage, "^$"), fault=fault)

    def whole_case(self, fault: harness.Fault = harness.kill) -> harness.Target:
        """From nothing to the report."""
        empty = self.folder / "templates" / "nothing"
        empty.mkdir(parents=True, exist_ok=True)
        items = "|".join(ITEMS[stage] for stage in ("infer", "teacher"))
        return self.measured(self.scenario(None), empty, batch=1, items=items, fault=fault)

    def measured(
        self, scenario: harness.Scenario, template: Path, *, batch: int, items: str, fault: harness.Fault
    ) -> harness.Target:
        """Measured once for each template, for kills and for other faults."""
        key = template.name, fault is harness.kill
        if key not in self.targets:
            run = self.folder / "run"
            self.targets[key] = harness.Target.measure(scenario, template, run, batch=batch, items=items, fault=fault)
        return replace(self.targets[key], fault=fault)


def text(seed: int) -> str:
    """The experiment number `seed`: all of them are as small, and differ in what decides the order of effects."""
    rng = random.Random(seed)
    layers = rng.choice([["fine", "auto"], ["fine", "auto", "coarse"], ["auto"]])
    weights = rng.random() < 0.5
    teacher = {"epoch_images": 6, "checkpoint_every": 1 + seed % 2, "ema": rng.choice([0.0, 0.9])}
    student = {
        "epoch_images": 4,
        "checkpoint_every": 2 - seed % 2,
        "label_weights": "probability" if weights else "none",
    }
    return experiment_toml(
        name="minute",
        seed=seed,
        rounds=2 if seed % 4 == 1 else 1,
        data={"source": "folder", "root": "source", "val_share": 0.3, "max_bad": seed % 2},
        teacher={**_TRAINING, **teacher},
        student={**_TRAINING, **student},
        infer={"scales": [1.0], "chunk": 1 + seed % 3},
        label={"threshold": 0.5, "coarse": rng.choice(["off", "veto", "fill"]), "weights": weights},
        fuse={"layers": layers},
        evaluate={"predictions": seed % 2 == 0},
        report={"images": 1},
        runtime={**ONE_CORE, "jobs": 1 + seed % 2},
    )


def write_source(folder: Path, seed: int) -> None:
    """Noise images of two classes, uncompressed, so that a change keeps their size.

    With an odd seed one of them is broken, which `max_bad` lets pass.
    """
    rng = np.random.default_rng(seed)
    for name in ("images", "masks", "coarse"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.toml").write_text('names = ["road", "sky"]')
    num_fine, num_coarse, num_bare = 4, 2, 2 + seed % 2
    for i in range(num_fine + num_coarse + num_bare):
        image, mask = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), np.zeros((32, 32), np.uint8)
        mask[: rng.integers(8, 24)] = 1
        Image.fromarray(image).save(folder / "images" / f"{i}.png", compress_level=0)
        if i < num_fine + num_coarse:
            layer = "masks" if i < num_fine else "coarse"
            Image.fromarray(mask).save(folder / layer / f"{i}.png", compress_level=0)
    if seed % 2:
        (folder / "images" / "broken.png").write_bytes(b"no picture")


def make(folder: Path, seed: int) -> Minute:
    """The experiment number `seed`; in a process that shares it (`share`), the one that was made first."""
    if _shared is None:
        return _made(folder, seed)
    if seed not in _shared[1]:
        _shared[1][seed] = _made(_shared[0] / str(seed), seed)
    return _shared[1][seed]


_shared: tuple[Path, dict[int, Minute]] | None = None


def share(folder: Path) -> None:
    """From now on this process makes each experiment once, below `folder`, for all faults that it tries."""
    global _shared
    _shared = folder, {}


def _made(folder: Path, seed: int) -> Minute:
    """Runs the experiment in a child, and imports here what it has imported there."""
    folder.mkdir(parents=True)
    write_source(folder / "source", seed)
    file = folder / "experiment.toml"
    file.write_text(text(seed))
    project = load_project(load_experiment(file), folder / "whole")
    minute = Minute(folder, project, project.work)
    warm.import_all()
    listed = folder / "modules"

    def first(root: Path) -> str:
        digest = minute.scenario(None)(root)
        listed.write_text("\n".join(sys.modules))
        return digest

    done = harness.run(first, minute.whole)
    assert done.digest, done.error or f"signal {done.signal}"
    warm.import_listed(listed)
    return minute


def intact(template: Path) -> Callable[[Path], None]:
    """A check: all that is committed is whole (P1), and what the template held is still there, unchanged (P4)."""
    before = {path.relative_to(template): (path / "COMMIT").read_bytes() for path in _committed(template)}

    def check(root: Path) -> None:
        for found in _committed(root):
            problems = Artefact.open(found).verify(full=True)
            assert not problems, f"{found.relative_to(root)}: {problems}"
        for path, commit in before.items():
            assert (root / path / "COMMIT").read_bytes() == commit, f"{path} was replaced"

    return check


def _committed(root: Path) -> list[Path]:
    return [found.path for found in scan(root / "artefacts") if found.kind == "committed"]
