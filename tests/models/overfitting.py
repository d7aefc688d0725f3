"""Combinations of trunks, heads and fusions (the table of docs/models.md), and a training on one batch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from autolabel.losses import training_loss
from autolabel.models import SegmentationModel, build_model, normalise
from streetscenes import Label, render

DOCS = Path(__file__).resolve().parents[2] / "docs" / "models.md"
FUSIONS = ("explicit", "hierarchical", "average", "single")
ALL_HEADS = ("ocr", "conv", "deeplabv3plus", "fpn", "deeper", "deeperlab")
WIDTHS = {"head_channels": 64, "key_channels": 64, "attention_channels": 32}
CLASSES = [label for label in Label if label is not Label.IGNORE]
STEPS = 20
SIZE = (64, 128)
SCENES = (26, 55)  # the most frequent class of each row of pixels covers only half of these

Combination = tuple[str, str, str]  # trunk, head, fusion

# The trunks of reduced width, each with the heads that fit it; a fusion fits every head.
FITTING = {
    "hrnet_tiny": ("ocr", "conv"),
    "resnet_tiny": ALL_HEADS,
    "resnet_tiny_os16": ALL_HEADS,
    "wide_resnet_tiny": ALL_HEADS,
    "xception_tiny": ALL_HEADS,
    "efficientnet_tiny_os8": ALL_HEADS,
}


class Fit(NamedTuple):
    loss: float  # of the last step, as a fraction of that of the first
    right: float  # fraction of the labelled pixels that are right after the last step

    def line(self, combination: Combination) -> str:
        return f"{' '.join(combination):50} loss x {self.loss:.2f}  {self.right:.0%} right"

    def check(self) -> None:
        """Limits that a head with frozen weights (loss), or logits in the wrong columns (right), does not reach."""
        assert self.loss < 0.6, self
        assert self.right > 0.6, self


def combinations_of(fitting: dict[str, tuple[str, ...]]) -> list[Combination]:
    return [(trunk, head, fusion) for trunk, heads in fitting.items() for head, fusion in product(heads, FUSIONS)]


def pairs(combination: Combination) -> set[tuple[str, str]]:
    return set(combinations(combination, 2))


def covering(every: Iterable[Combination]) -> list[Combination]:
    """A few combinations that contain every pair of compatible parts; greedily, those with most new pairs."""
    left, chosen = list(every), []
    missing = set().union(*map(pairs, left))
    while missing:
        chosen.append(max(left, key=lambda combination: len(pairs(combination) & missing)))
        missing -= pairs(chosen[-1])
    return chosen


def marked(every: list[Combination]) -> list[Any]:
    """Parameters of a test; only `make overfit` runs those beyond a covering few."""
    few = covering(every)
    return [pytest.param(c, marks=() if c in few else pytest.mark.exhaustive) for c in every]


def small(combination: Combination) -> SegmentationModel:
    """At reduced widths, for the classes of synthetic scenes."""
    torch.manual_seed(0)
    return build_model(WIDTHS | dict(zip(("trunk", "head", "fusion"), combination, strict=True)), len(CLASSES))


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Two synthetic scenes: images (2, 3, H, W) as a network reads them, labels (2, H, W)."""
    scenes = [render(0, index, size=SIZE) for index in SCENES]
    images = torch.from_numpy(np.stack([scene.image for scene in scenes]))
    return normalise(images), torch.from_numpy(np.stack([scene.fine for scene in scenes])).long()


def fit_one_batch(model: SegmentationModel) -> Fit:
    """Adam on the cross-entropy, with the published weights of its terms. What is right is counted in training mode:
    20 steps are few for running statistics."""
    images, labels = batch()
    labelled = labels != Label.IGNORE
    optimizer = torch.optim.Adam(model.train().parameters(), lr=5e-3)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = training_loss(model(images), labels, loss="ce")
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        predicted = model(images).fused.argmax(dim=1)
    return Fit(losses[-1] / losses[0], (predicted == labels)[labelled].float().mean().item())


def documented() -> dict[str, tuple[str, ...]]:
    """The table of docs/models.md: trunk -> the heads marked as fitting. A row may list several trunks."""
    section = DOCS.read_text().partition("## Combinations")[2].partition("\n## ")[0]
    lines = re.findall(r"^\|.*", section, re.MULTILINE)
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = [cell.strip("`") for cell in header[1:]]
    return {
        trunk: tuple(head for head, cell in zip(heads, cells, strict=True) if cell == "yes")
        for first, *cells in rows
        for trunk in re.findall("`([^`]+)`", first)
    }
