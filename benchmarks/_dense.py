"""Disk to disk: picture files in, label files out, three scales of a network."""

from __future__ import annotations

import statistics
import tempfile
from functools import partial
from pathlib import Path

import _published_labelling as published
import numpy as np
import torch
from _measure import Work, time_ratio
from PIL import Image
from torch import Tensor, nn

from autolabel.data.decode import decode_image
from autolabel.data.scenes import Scene, render
from autolabel.inference.teacher import Teacher
from autolabel.labels import png
from autolabel.labels.codes import CodeBook
from autolabel.labels.shards import write_shard
from autolabel.models import SegmentationModel, WeightsCard, build_model, normalise
from autolabel.models.layers import Readout

SCALES = (0.5, 1.0, 2.0)
CLASSES = 19
THRESHOLD = 0.5
STRIDE = 4
SHARPNESS = 12.0  # logits between the classes that are there and those that are not
Size = tuple[int, int]


def measure(
    device: str, *, trunk: str = "hrnet_w18_small_v1", size: Size = (512, 1024), images: int = 2
) -> dict[str, float]:
    """HRNet with OCR: time as published / ours, the share of other labels, and what the labels are like."""
    scenes = [render(0, index, size=size) for index in range(images)]
    model = network(trunk, scenes[0])
    card = WeightsCard(table=model.table, class_names=tuple(f"class {k}" for k in range(CLASSES)))
    teacher = Teacher(model, card, CodeBook(CLASSES), scales=SCALES, device=device)
    plain = model.to(device=device, memory_format=torch.contiguous_format)
    with tempfile.TemporaryDirectory() as folder:
        files = [_files(Path(folder) / str(number), scene.image) for number, scene in enumerate(scenes)]
        works = [(_published(plain, a, b), partial(our_label, teacher, a, c)) for a, b, c in files]
        ratios = [time_ratio(*work, device=device, rounds=1) for work in works]
        labels = [[np.array(Image.open(path)) for path in paths] for _, *paths in files]
    return {
        "dense.time_ratio": statistics.median(ratios),
        "dense.labels_differ": float(np.mean([theirs != ours for theirs, ours in labels])),
        "dense.ignored": float(np.mean([ours == 255 for _, ours in labels])),
        "dense.classes": len(np.unique(labels)) - 1,
    }


def network(trunk: str, scene: Scene) -> SegmentationModel:
    """Random features, norms that fit them, and a classifier fitted to a scene: classes win by margins as usual."""
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
            elif isinstance(module, Readout):
                module.weight.normal_(0, (2 / module.in_channels) ** 0.5)
        for part in (model.head.context.object, model.head.context.value, model.head.context.up):
            part.eval()  # a few class vectors, much alike, are no statistics
        model.evidence(images)
        _fit(model.eval(), images, torch.from_numpy(scene.fine))
    return model


def _fit(model: SegmentationModel, images: Tensor, labels: Tensor) -> None:
    """Ridge regression from the features before the classifier to SHARPNESS where a class is and 0 elsewhere."""
    features = model.head(model.trunk(images)).features[0].flatten(1).double()  # (C, h w)
    targets = (labels[::STRIDE, ::STRIDE].flatten() == torch.arange(CLASSES)[:, None]).double()  # (K, h w)
    mean, centre = features.mean(dim=1, keepdim=True), targets.mean(dim=1, keepdim=True)
    features -= mean
    covariance = features @ features.T / features.shape[1]
    ridge = 0.01 * covariance.diagonal().mean() * torch.eye(len(features), dtype=torch.float64)
    cross = features @ (targets - centre).T / features.shape[1]
    weight = SHARPNESS * torch.linalg.solve(covariance + ridge, cross).T  # (K, C)
    model.head.classifier.weight.copy_(weight[:, :, None, None])
    model.head.classifier.bias.copy_((SHARPNESS * centre - weight @ mean)[:, 0])


def our_label(teacher: Teacher, source: Path, target: Path) -> None:
    """As the stages infer and label do it: codes into a shard, labels cut from them."""
    picture = decode_image(source.read_bytes(), where=source, max_pixels=1 << 24)
    codes = teacher(torch.from_numpy(picture[None]))[0].cpu().numpy()
    target.with_suffix(".h5").write_bytes(write_shard([(source.stem, codes)], teacher.book))
    target.write_bytes(png.encode(teacher.book.lut(THRESHOLD)[codes]))


def _published(model: SegmentationModel, source: Path, target: Path) -> Work:
    return partial(published.label_file, model, source, target, scales=SCALES, threshold=THRESHOLD)


def _files(folder: Path, picture: np.ndarray) -> tuple[Path, Path, Path]:
    """The picture's file and those of both labels."""
    folder.mkdir()
    source = folder / "picture.png"
    Image.fromarray(picture).save(source)
    return source, folder / "published.png", folder / "ours.png"
