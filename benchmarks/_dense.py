"""Three scales of a network, from image to label, within the scopes of `_scopes`."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from _measure import Work, memory_ratio, seconds_in_turn
from _scopes import SCOPES, Case
from PIL import Image
from torch import Tensor, nn

from autolabel.inference.model import InferenceModel
from autolabel.labels.codebook import Codebook
from autolabel.models import SegmentationModel, WeightsCard, build_model, normalise
from autolabel.models.flops import count_labelling
from autolabel.models.layers import ClassifierConv
from streetscenes import Scene, render

SCALES = (0.5, 1.0, 2.0)
CLASSES = 19
STRIDE = 4
SHARPNESS = 12.0  # difference of logits between present and absent classes
PEAK = 989e12  # FLOP/s of dense bf16 on an H100 or H200, on paper
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Size = tuple[int, int]


def measure(
    device: str,
    *,
    trunk: str = "hrnet_w18_small_v1",
    precision: str = "fp32",
    size: Size = (512, 1024),
    images: int = 2,
    memory: bool = True,
) -> dict[str, float]:
    """HRNet with OCR: for every scope time and memory as published / ours, the fraction of other labels and of ignored
    ones; on a GPU also the share of its arithmetic that the published path's FLOPs amount to."""
    scenes = [render(0, index, size=size) for index in range(images)]
    model = network(trunk, scenes[0])
    with tempfile.TemporaryDirectory() as folder:
        cases = [_case(model, device, precision, Path(folder) / str(i), scenes[i].image) for i in range(images)]
        result = {}
        for scope in SCOPES:
            result |= _compared(scope, cases, device)
            if memory:
                work = (trunk, size, precision, device)
                result[f"dense.{scope}_memory_ratio"] = memory_ratio(
                    __name__, "memory_work", (scope, 0, *work), (scope, 1, *work), rounds=1
                )
    if device == "cuda":
        per_image = _published_flops(trunk, size)
        result["dense.mfu"] = per_image * result["dense.compute_images_per_second"] / PEAK
    # The stated figure is from disk to disk.
    result["dense.time_ratio"] = result["dense.disk_time_ratio"]
    result["dense.labels_differ"] = result["dense.disk_labels_differ"]
    return result


def _compared(scope: str, cases: list[Case], device: str) -> dict[str, float]:
    theirs, ours = SCOPES[scope]
    pairs, differ, ignored, classes = [], [], [], set()
    for case in cases:
        their_work, our_work = theirs.start(case), ours.start(case)
        pairs += seconds_in_turn(their_work, our_work, device=device, rounds=1)
        their_labels = theirs.labels(case, their_work())
        our_labels = ours.labels(case, our_work())
        differ.append(np.mean(their_labels != our_labels))
        ignored.append((np.mean(their_labels == 255), np.mean(our_labels == 255)))
        classes |= set(np.unique(our_labels))
    return {
        f"dense.{scope}_time_ratio": statistics.median(a / b for a, b in pairs),
        f"dense.{scope}_images_per_second": 1 / statistics.median(b for _, b in pairs),
        f"dense.{scope}_labels_differ": float(np.mean(differ)),
        f"dense.{scope}_ignored_published": float(np.mean([a for a, _ in ignored])),
        f"dense.{scope}_ignored": float(np.mean([b for _, b in ignored])),
        f"dense.{scope}_classes": len(classes - {255}),
    }


def memory_work(scope: str, side: int, trunk: str, size: Size, precision: str, device: str) -> Work:
    """The published side (0) or ours (1), with random weights."""
    torch.manual_seed(0)
    model = build_model({"trunk": trunk, "head": "ocr", "fusion": "hierarchical"}, CLASSES).eval()
    folder = tempfile.TemporaryDirectory()
    case = _case(model, device, precision, Path(folder.name) / "case", render(0, 0, size=size).image)
    start = SCOPES[scope][side].start(case)

    def work() -> object:
        assert folder  # lives as long as the work
        return start()

    return work


def _case(model: SegmentationModel, device: str, precision: str, folder: Path, image: np.ndarray) -> Case:
    folder.mkdir()
    source = folder / "image.png"
    Image.fromarray(image).save(source)
    card = WeightsCard(table=model.table, class_names=tuple(f"class {k}" for k in range(CLASSES)))
    teacher = InferenceModel(model, card, Codebook(CLASSES), scales=SCALES, device=device, precision=precision)
    plain = model.to(device=device, memory_format=torch.contiguous_format)
    autocast = torch.autocast(device, dtype=DTYPES[precision], enabled=precision != "fp32")
    return Case(plain, teacher, autocast, source, folder / "label.png")


def _published_flops(trunk: str, size: Size) -> int:
    """FLOPs for one image: attention at every scale, nothing prepared."""
    cost = count_labelling({"trunk": trunk, "head": "ocr", "fusion": "hierarchical"}, CLASSES, size, SCALES)
    return cost.flops.total + cost.skipped


def network(trunk: str, scene: Scene) -> SegmentationModel:
    """Random features with fitted norms, and a classifier fitted to a scene, so that classes win by usual margins."""
    torch.manual_seed(0)
    model = build_model({"trunk": trunk, "head": "ocr", "fusion": "hierarchical"}, CLASSES).eval()
    images = normalise(torch.from_numpy(scene.image[None]))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                ends_block = not module.weight.any()
                module.weight.normal_(1, 0.1).mul_(0.15 if ends_block else 1)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.normal_().abs_().add_(0.5)
                module.momentum = 1.0
                module.train()
            elif isinstance(module, ClassifierConv):
                module.weight.normal_(0, (2 / module.in_channels) ** 0.5)
        for part in (model.head.context.object, model.head.context.value, model.head.context.up):
            part.eval()  # a few similar class vectors give no useful statistics
        model.forward_scale(images)
        features = model.eval().head(model.trunk(images)).features
        fit_classifier(model.head.classifier, features, torch.from_numpy(scene.fine))
    return model


def fit_classifier(classifier: nn.Conv2d, maps: Tensor, labels: Tensor) -> None:
    """Ridge regression from maps (1, C, h, w) before the classifier to SHARPNESS where a class is and 0 elsewhere."""
    features = maps[0].flatten(1).double()  # (C, h w)
    targets = (labels[::STRIDE, ::STRIDE].flatten() == torch.arange(CLASSES)[:, None]).double()  # (K, h w)
    mean, centre = features.mean(dim=1, keepdim=True), targets.mean(dim=1, keepdim=True)
    features -= mean
    covariance = features @ features.T / features.shape[1]
    ridge = 0.01 * covariance.diagonal().mean() * torch.eye(len(features), dtype=torch.float64)
    cross = features @ (targets - centre).T / features.shape[1]
    weight = SHARPNESS * torch.linalg.solve(covariance + ridge, cross).T  # (K, C)
    assert classifier.bias is not None
    classifier.weight.copy_(weight[:, :, None, None])
    classifier.bias.copy_((SHARPNESS * centre - weight @ mean)[:, 0])
