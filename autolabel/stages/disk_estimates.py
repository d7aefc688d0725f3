"""Estimates of the disk space that each stage takes.

They are the figures of the demo (`autolabel demo`) and a little more: its images are small and busy. Photographs need
less (CamVid: codes 0.07, labels 0.02 bytes per pixel). So a refused step might have fitted, and a step that begins does
not end on a full disk. Before there is a manifest the sizes of the images are not known, and there is no estimate.
"""

from __future__ import annotations

from pathlib import Path

from autolabel.config.networks import ModelConfig, TrainConfig
from autolabel.config.schema import EvaluateConfig, InferConfig, LabelConfig, ReportConfig
from autolabel.config.sources import Data, SyntheticConfig
from autolabel.flow.stage import DatasetSizes, DiskEstimate, ImageCount, PreflightContext

CODES = 0.2  # bytes per pixel; measured 0.19
LABELS = 0.05  # measured 0.045; validation predictions alike
CONFIDENCE = 0.2  # as the codes, from which it comes
SCENES = 2.6  # synthetic images with their labels; measured 2.07
WIDE = 2  # codes of two bytes
FILE = 4096  # what a file takes beyond its bytes, at most, and a row in manifest, journal and ledger
VIEWS = 1_500_000  # one image in the report, in all its views


def _estimate(count: ImageCount, bytes_per_pixel: float, *, files: float = 1) -> DiskEstimate:
    """`files`: number of files per image."""
    if count.pixels is None:
        return DiskEstimate(count.images, None)
    return DiskEstimate(count.images, round(count.pixels * bytes_per_pixel + (count.images * files + 32) * FILE))


def manifest(ahead: PreflightContext[Data], sizes: DatasetSizes) -> DiskEstimate:
    """Tables; for synthetic scenes the images too."""
    if isinstance(ahead.settings, SyntheticConfig):
        return _estimate(sizes.all, SCENES, files=4)
    return DiskEstimate(sizes.all.images, (sizes.all.images + 32) * FILE)


def infer(ahead: PreflightContext[InferConfig], sizes: DatasetSizes) -> DiskEstimate:
    from autolabel.labels.codebook import Codebook

    book = Codebook(ahead.data.classes.num_classes, ahead.settings.edges, second_below=ahead.settings.second_below)
    return _estimate(_both(sizes.unlabelled, sizes.val), CODES * (WIDE if book.dtype.itemsize > 1 else 1))


def label(ahead: PreflightContext[LabelConfig], sizes: DatasetSizes) -> DiskEstimate:
    confidence = ahead.settings.weights
    return _estimate(sizes.unlabelled, LABELS + CONFIDENCE * confidence, files=2 + confidence)


def evaluate(ahead: PreflightContext[EvaluateConfig], sizes: DatasetSizes) -> DiskEstimate:
    if ahead.settings.predictions:
        return _estimate(sizes.val, LABELS, files=2)
    return DiskEstimate(sizes.val.images, 32 * FILE)


def report(ahead: PreflightContext[ReportConfig], sizes: DatasetSizes) -> DiskEstimate:
    count = min(ahead.settings.images, sizes.unlabelled.images)
    return DiskEstimate(count, (count + 1) * VIEWS)


def train(ahead: PreflightContext[TrainConfig], sizes: DatasetSizes) -> DiskEstimate:
    """The weights, and during training two checkpoints: a new one is whole before it replaces the old one."""
    settings = ahead.settings
    weights = _network_bytes(settings, ahead.data.classes.num_classes)
    copies = 1 + {"sgd": int(settings.momentum > 0), "adamw": 2}[settings.optimizer] + int(settings.ema > 0)
    total = weights * (1 + 2 * copies) if settings.epochs else weights
    return DiskEstimate(sizes.all.images - sizes.val.images, total + 64 * FILE + sizes.all.images * 100)


def _network_bytes(settings: TrainConfig, num_classes: int) -> int:
    """The size of the files a network comes from, else counted on shapes without memory. Raises as building it does."""
    if settings.huggingface is not None:
        from autolabel.stages.huggingface_folder import folder_of, weight_files

        folder = folder_of(settings.huggingface)
        return sum(_size(folder / name) for name in weight_files(folder))
    if isinstance(settings.weights, Path) and settings.model == ModelConfig():
        return _size(settings.weights)
    from autolabel.models import build_model
    from autolabel.models.skeleton import on_meta

    with on_meta():
        state = build_model(settings.model, num_classes).state_dict()
    return sum(value.numel() * value.element_size() for value in state.values())


def _size(file: Path) -> int:
    return int(file.stat().st_size) if file.is_file() else 0  # whoever reads it will say what is wrong


def _both(a: ImageCount, b: ImageCount) -> ImageCount:
    pixels = None if a.pixels is None or b.pixels is None else a.pixels + b.pixels
    return ImageCount(a.images + b.images, pixels)
