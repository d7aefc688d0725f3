"""Choose trunk, crop, scales, steps and label policy from the facts; `make proof` measures these choices."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from autolabel.errors import SettingError
from autolabel.recommend.facts import DataFacts, MachineFacts
from autolabel.recommend.timing import Timing

CPU_STEPS, GPU_STEPS = 1000, 4000  # of one training, without a time budget
FEWEST_STEPS = 60  # below that a network has hardly moved: a budget for fewer is refused
NUM_EPOCHS = 10
SPARE = 0.85  # fraction of the budget that is planned; the rest is for files, the report, and a busier machine
ENOUGH_VAL = 20  # validation images: fewer say too little to choose a student's weights by
VALIDATE_EVERY = 2  # epochs between the validations that choose a student's weights
WORKING_SIDE = 480  # pixels: pretrained networks see street scenes well when the longer side has about this length


class Schedule(NamedTuple):
    epochs: int
    epoch_images: int
    steps: int


@dataclass(frozen=True)
class Recommendation:
    """Choices for an experiment, as the template of the file reads them."""

    trunk: str
    fusion: str
    crop: tuple[int, int]
    batch: int
    steps: int  # of the teacher, and of the student, which starts from its weights
    train_scale: tuple[float, float]
    scales: tuple[float, ...]
    precision: str
    has_coarse: bool
    threads: int
    validate_every: int  # epochs between the validations that choose the student's weights; 0 = it keeps the last
    precision_reason: str = ""  # why it is not the usual one of the device
    minutes: float | None = None  # the budget
    run_minutes: float | None = None  # the time that a run with `steps` takes
    spare_time: bool = False  # the budget allows more steps, which would hardly help

    @property
    def schedules(self) -> dict[str, Schedule]:
        return {"teacher": self._schedule(self.steps), "student": self._schedule(self.steps)}

    def _schedule(self, steps: int) -> Schedule:
        images = max(self.batch, math.ceil(steps * self.batch / NUM_EPOCHS))
        epochs = max(1, round(steps * self.batch / images))
        return Schedule(epochs, images, epochs * images // self.batch)


def recommend(data: DataFacts, machine: MachineFacts) -> Recommendation:
    """Choices without a time budget."""
    on_gpu = machine.device == "cuda"
    train_scale, scales = _scales(max(data.size))
    return Recommendation(
        trunk="efficientnet_lite2" if on_gpu else "efficientnet_lite0",
        fusion="hierarchical" if on_gpu else "average",
        crop=_crop(data.size, area=512 * 512 if on_gpu else 192 * 256),
        batch=16 if on_gpu and machine.gpu_bytes > 12e9 else 8 if on_gpu else 4,
        steps=GPU_STEPS if on_gpu else CPU_STEPS,
        train_scale=train_scale,
        scales=scales,
        precision="bf16" if on_gpu else "fp32",
        has_coarse=data.num_coarse > 0,
        threads=0 if on_gpu else 1,
        validate_every=VALIDATE_EVERY if data.num_val >= ENOUGH_VAL else 0,
    )


def within(minutes: float, choice: Recommendation, timing: Timing, data: DataFacts) -> Recommendation:
    """The choice with as many steps as the budget allows.

    SettingError: the budget is too small for a training that teaches anything.
    """
    evaluations = 2 + _validations(choice)
    fixed = timing.start + data.num_to_label * timing.label + evaluations * data.num_val * timing.evaluate
    both = 2 * timing.step
    allowed = int((minutes * 60 * SPARE - fixed) / both)
    if allowed < FEWEST_STEPS:
        least = math.ceil((fixed + FEWEST_STEPS * both) / 60 / SPARE)
        what = (
            f"{minutes:g} minutes are too few: {data.num_to_label} images to label and {data.num_val} to evaluate take "
            f"{fixed:.0f} s here, a training step {timing.step:.2f} s"
        )
        raise SettingError("minutes", what, f"give at least {least}, or leave it out")
    steps = min(allowed, 4 * choice.steps)
    run_minutes = (fixed + steps * both) / 60 / SPARE
    return replace(choice, steps=steps, minutes=minutes, run_minutes=run_minutes, spare_time=allowed > steps)


def _validations(choice: Recommendation) -> float:
    """Time of the student's validations, in evaluations: they see one scale without flip, so fewer pixels."""
    if not choice.validate_every:
        return 0.0
    return NUM_EPOCHS / choice.validate_every / (2 * sum(scale**2 for scale in choice.scales))


def _crop(size: tuple[int, int], *, area: int) -> tuple[int, int]:
    """A crop of about `area` pixels in the shape of the images, its sides multiples of 32."""
    height, width = size
    aspect = min(2.0, max(0.5, width / height))
    rows = math.sqrt(area / aspect)
    return _multiple(rows), _multiple(rows * aspect)


def _multiple(length: float) -> int:
    return max(64, 32 * round(length / 32))


def _scales(longer_side: int) -> tuple[tuple[float, float], tuple[float, ...]]:
    """Range of the training scale, and the scales of labelling, which include 1.0."""
    fit = min(2.0, max(0.25, WORKING_SIDE / longer_side))
    if fit > 4 / 3:  # small images: enlarged ones show more
        return (round(0.54 * fit, 2), round(1.25 * fit, 2)), (1.0, round(fit, 2))
    if fit >= 3 / 4:
        return (0.54, 1.5), (0.75, 1.0, 1.5)
    return (round(max(0.25, 0.75 * fit), 2), 1.25), (0.5, 1.0)
