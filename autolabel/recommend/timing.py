"""Time a few real steps on this machine, with random images."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from autolabel.config.schema import Experiment
from autolabel.hardware import usable_cores

WARM_UP, STEPS = 2, 5
ENOUGH = 20.0  # seconds: after that, a slow machine takes no further step
FASTER = 0.9  # a number format must save this much to be chosen: it also rounds
START = 20.0  # seconds: imports, the manifest and the report of a small data set


@dataclass(frozen=True)
class Timing:
    """Seconds of wall time."""

    step: float  # a training step
    label: float  # an image in infer and label
    evaluate: float  # a validation image
    start: float = START


def measure(experiment: Experiment, size: tuple[int, int], num_classes: int) -> Timing:
    """Train a few steps and predict one image of `size` (height, width), with random weights and pixels."""
    import torch

    from autolabel.hardware import pin_threads, resolve_device
    from autolabel.inference.predictor import Predictor
    from autolabel.models import WeightsCard, build_model

    device = torch.device(resolve_device(experiment.runtime.device))
    pin_threads(experiment.runtime.threads)
    names = tuple(f"class {number}" for number in range(num_classes))
    step = step_seconds(experiment, num_classes)
    model = build_model(experiment.teacher.model, num_classes)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    card = WeightsCard(table=experiment.teacher.model, class_names=names)
    seconds = {}
    for name, table in (("label", experiment.infer), ("evaluate", experiment.evaluate)):
        predictor = Predictor(model.eval(), card, scales=table.scales, flip=table.flip, device=device)
        seconds[name] = _seconds(partial(predictor.train_ids, image), warm_up=1, steps=2)
    parallel = 1 if device.type == "cuda" else max(1, usable_cores())  # on a CPU every core predicts another image
    return Timing(step, seconds["label"] / parallel, seconds["evaluate"] / parallel)


def step_seconds(experiment: Experiment, num_classes: int) -> float:
    """Seconds of wall time of a training step of the teacher."""
    import torch

    from autolabel.hardware import pin_threads, resolve_device
    from autolabel.models import build_model

    pin_threads(experiment.runtime.threads)
    torch.manual_seed(0)
    model = build_model(experiment.teacher.model, num_classes)
    device = torch.device(resolve_device(experiment.runtime.device))
    return _seconds(_training(model, experiment.teacher, device, num_classes))


def _training(model: Any, settings: Any, device: Any, num_classes: int) -> Callable[[], object]:
    import torch

    from autolabel.losses import training_loss
    from autolabel.models.layers import MEAN, STD
    from autolabel.training.trainer import Trainer

    trainer = Trainer(
        model=model,
        loss=partial(training_loss, loss=settings.loss),
        settings=settings,
        seed=0,
        total_steps=1000,
        device=device,
        mean=MEAN,
        std=STD,
        num_classes=num_classes,
        frequencies=torch.full((num_classes,), 1 / num_classes, dtype=torch.float64),
    )
    images = torch.randint(0, 256, (settings.batch, *settings.crop, 3), dtype=torch.uint8)
    labels = torch.randint(0, num_classes, (settings.batch, *settings.crop), dtype=torch.uint8)
    return partial(trainer.train_step, images, labels)


def _seconds(run: Callable[[], object], *, warm_up: int = WARM_UP, steps: int = STEPS) -> float:
    """The mean duration of some calls; at least one is made after the warm-up."""
    start = time.perf_counter()
    for _ in range(warm_up):
        run()
        if time.perf_counter() - start > ENOUGH:
            break
    begin = now = time.perf_counter()
    taken = 0
    while taken == 0 or (taken < steps and now - start <= ENOUGH):
        run()
        taken += 1
        now = time.perf_counter()
    return (now - begin) / taken
