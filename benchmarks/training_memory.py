"""Activation checkpointing: memory and time of one training step, as ratios (with / without).

    python benchmarks/training_memory.py [--json] [--trunk hrnet_w18] [--size 256x512]

Memory is the peak of what torch allocates in forward and backward pass, gradients of the weights included; time is CPU
time of one thread. Both networks have the same weights and see the same image.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch.profiler import ProfilerActivity, profile

from autolabel.config.networks import ModelConfig
from autolabel.losses import training_loss
from autolabel.models import SegmentationModel, build_model
from autolabel.training.activation_checkpointing import checkpoint_activations


def fresh(trunk: str) -> SegmentationModel:
    torch.manual_seed(0)
    return build_model(ModelConfig(trunk=trunk), 19).train()


def step(model: SegmentationModel, size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    images, labels = torch.randn(1, 3, *size), torch.randint(0, model.num_classes, (1, *size))
    training_loss(model(images), labels).backward()
    model.zero_grad()


def peak_bytes(model: SegmentationModel, size: tuple[int, int]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(model, size)
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore[union-attr]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def seconds(model: SegmentationModel, size: tuple[int, int]) -> float:
    start = time.process_time()
    step(model, size)
    return time.process_time() - start


def measure(trunk: str, size: tuple[int, int]) -> dict[str, float]:
    torch.set_num_threads(1)
    plain, thrifty = (fresh(trunk) for _ in range(2))
    checkpoint_activations(thrifty)
    memory = [peak_bytes(model, size) for model in (plain, thrifty)]  # also warms up
    spent = [seconds(model, size) for model in (plain, thrifty)]
    return {
        "training_memory.peak_ratio": memory[1] / memory[0],
        "training_memory.time_ratio": spent[1] / spent[0],
        "training_memory.peak_mib_without": memory[0] / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trunk", default="hrnet_w18")
    parser.add_argument("--size", default="256x512")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    result = measure(arguments.trunk, (height, width))
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:40} {value:.3f}")


if __name__ == "__main__":
    main()
