"""The cost of a training by fusion (Table 3 of the paper): counted FLOPs, then measured time and memory of a step."""

from __future__ import annotations

from functools import partial

import torch
from _measure import Work, memory_ratio, time_ratio

from autolabel.config.networks import ModelConfig, TrainConfig
from autolabel.losses import training_loss
from autolabel.models import build_model
from autolabel.models.flops import count_training
from autolabel.models.layers import MEAN, STD
from autolabel.training.trainer import Trainer

CLASSES = 19
FUSIONS = ("hierarchical", "explicit")
TRUNKS = ("hrnet_tiny", "resnet_tiny")
CROP, BATCH = (128, 256), 2


def measure(device: str, rounds: int) -> dict[str, float]:
    """All numbers are multiples of the cost of a single scale."""
    return _counted() | _measured(device, rounds)


def _counted() -> dict[str, float]:
    """FLOPs of a forward pass of HRNet-W48 + OCR on the published crop: trunk, as in the paper, and network."""
    single, *others = (
        count_training(ModelConfig(fusion=fusion), CLASSES, TrainConfig().crop).flops for fusion in ("single", *FUSIONS)
    )
    found = {}
    for fusion, flops in zip(FUSIONS, others, strict=True):
        found[f"cost.{fusion}"] = flops.trunk / single.trunk
        found[f"cost.{fusion}_network"] = flops.total / single.total
    return found


def _measured(device: str, rounds: int) -> dict[str, float]:
    """A whole training step with loss and optimizer."""
    found = {}
    for trunk in TRUNKS:
        single = (trunk, "single", device)
        for fusion in FUSIONS:
            this = (trunk, fusion, device)
            name = f"step.{trunk}.{fusion}"
            found[f"{name}.time"] = time_ratio(step_work(*this), step_work(*single), device=device, rounds=rounds)
            found[f"{name}.memory"] = memory_ratio(__name__, "step_work", this, single, rounds=1)
    return found


def step_work(trunk: str, fusion: str, device: str) -> Work:
    model = ModelConfig(trunk=trunk, fusion=fusion, head_channels=64, key_channels=32, attention_channels=32)
    trainer = Trainer(
        model=build_model(model, CLASSES),
        loss=partial(training_loss, loss="rmi", aux_weight=0.4, scale_weight=0.05),
        settings=TrainConfig(),
        seed=0,
        total_steps=1000,
        device=torch.device(device),
        mean=MEAN,
        std=STD,
        num_classes=CLASSES,
    )
    trainer.train_step(*_batch((64, 64)))  # warms up: loads libraries
    return partial(trainer.train_step, *_batch(CROP))


def _batch(size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, *size, 3), generator=generator, dtype=torch.uint8)
    blocks = torch.randint(0, CLASSES, (BATCH, size[0] // 16, size[1] // 16), generator=generator, dtype=torch.uint8)
    return images, blocks.repeat_interleave(16, dim=1).repeat_interleave(16, dim=2)
