"""A network, images and settings small enough to train hundreds of steps in a test."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import nn

from autolabel.config.networks import AugmentConfig, TrainConfig
from autolabel.config.schema import RuntimeConfig
from autolabel.data.loaders import Sample
from autolabel.distributed import SINGLE_PROCESS, ProcessGroup
from autolabel.models import TrainOutput
from autolabel.signals import StopFlag
from autolabel.training import FitResult, TrainingData, fit

NAMES = ("road", "sky", "car")


class Tiny(nn.Module):
    """A network with all parts that could spoil exactness: norm, dropout, resizing."""

    def __init__(self, *, norm: bool = True, dropout: float = 0.2, gain: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.drop = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(8, len(NAMES), 1)
        self.gain = gain

    def forward(self, images: torch.Tensor) -> TrainOutput:
        features = self.drop(torch.relu(self.norm(self.conv(images))))
        logits = self.gain * self.classify(features)
        fused = nn.functional.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return TrainOutput(fused, None, {})


class ArrayPairs:
    """Images whose colour is the class, with noise and a band of ignored pixels."""

    has_confidence = False

    def __init__(self, count: int = 5, size: tuple[int, int] = (24, 32), seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.labels = [
            np.kron(rng.integers(0, 3, (3, 4)), np.ones((size[0] // 3, size[1] // 4))).astype(np.uint8)
            for _ in range(count)
        ]
        colours = np.array([[90, 60, 100], [80, 130, 190], [160, 20, 40]])
        self.images = [
            np.clip(colours[label] + rng.normal(0, 25, (*size, 3)), 0, 255).astype(np.uint8) for label in self.labels
        ]
        for label in self.labels:
            label[:, :2] = 255

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index], self.labels[index])


SETTINGS = TrainConfig(
    crop=(16, 16),
    batch=2,
    epochs=3,
    lr=0.05,
    loss="ce",
    tile=12,
    augment=AugmentConfig(blur=0.5),
    ema=0.9,
    warmup=0.2,
    validate_every=1,
    checkpoint_every=1,
)


def settings(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({**SETTINGS.model_dump(), **changes})


def network(seed: int = 1, **options: Any) -> Tiny:
    torch.manual_seed(seed)
    return Tiny(**options)


def train(
    model: nn.Module,
    *,
    table: TrainConfig = SETTINGS,
    resume: bytes | None = None,
    stop: StopFlag | None = None,
    workers: int = 1,
    micro_batch: int = 0,
    data: TrainingData | None = None,
    saved: list[bytes] | None = None,
    rows: list[dict[str, Any]] | None = None,
    world: ProcessGroup = SINGLE_PROCESS,
) -> FitResult:
    return fit(
        model,
        data or TrainingData(ArrayPairs(), ArrayPairs(3, seed=9), NAMES, epoch_images=5),
        settings=table,
        seed=7,
        runtime=RuntimeConfig(device="cpu", threads=1, workers=workers, micro_batch=micro_batch, jobs=1),
        resume=resume,
        save=(saved if saved is not None else []).append,
        log=(rows if rows is not None else []).append,
        stop=stop or StopFlag(),
        world=world,
        quiet=True,
    )


def digest(model: nn.Module) -> str:
    data = b"".join(name.encode() + value.numpy().tobytes() for name, value in model.state_dict().items())
    return hashlib.sha256(data).hexdigest()
