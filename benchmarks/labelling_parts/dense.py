"""Disk to disk: picture files in, label files out, three scales of one network."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _measure import alternate
from PIL import Image
from plain import labelling as plain
from torch import nn

from autolabel.data.decode import decode_image
from autolabel.data.scenes import render
from autolabel.inference.teacher import Teacher
from autolabel.labels import png
from autolabel.labels.codes import CodeBook
from autolabel.labels.shards import write_shard
from autolabel.models import SegmentationModel, WeightsCard, build_model, normalise
from autolabel.models.layers import Readout

SCALES = (0.5, 1.0, 2.0)
CLASSES = 19
THRESHOLD = 0.5
SPREAD = 4.0  # standard deviation of a class's logits over an image
Size = tuple[int, int]


def network(trunk: str, picture: np.ndarray) -> SegmentationModel:
    """With norms and evidence as varied as a trained network's: several classes win, some pixels are unsure."""
    torch.manual_seed(0)
    model = build_model({"trunk": trunk, "head": "ocr", "fusion": "hierarchical"}, CLASSES).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                ends_block = not module.weight.any()
                module.weight.normal_(1, 0.1).mul_(0.15 if ends_block else 1)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.normal_().abs_().add_(0.5)
            elif isinstance(module, Readout):
                module.weight.normal_(0, (2 / module.in_channels) ** 0.5)
        classifier = model.head.classifier
        classifier.bias.zero_()
        logits = model.evidence(normalise(torch.from_numpy(picture[None]))).logits
        mean = logits.mean(dim=(0, 2, 3))
        spread = (logits - mean.view(1, -1, 1, 1)).std()
        classifier.weight *= SPREAD / spread
        classifier.bias -= mean * SPREAD / spread
    return model


def ours(teacher: Teacher, source: Path, target: Path) -> None:
    """As the stages infer and label do it: codes into a shard, labels cut from them."""
    picture = decode_image(source.read_bytes(), where=source, max_pixels=1 << 24)
    codes = teacher(torch.from_numpy(picture[None]))[0].numpy()
    target.with_suffix(".h5").write_bytes(write_shard([(source.stem, codes)], teacher.book))
    target.write_bytes(png.encode(teacher.book.lut(THRESHOLD)[codes]))


def measure(size: Size, *, trunk: str, images: int) -> dict[str, float]:
    pictures = [render(0, index, size=size).image for index in range(images)]
    model = network(trunk, pictures[0])
    card = WeightsCard(table=model.table, class_names=tuple(f"class {k}" for k in range(CLASSES)))
    teacher = Teacher(model, card, CodeBook(CLASSES), scales=SCALES)
    published = model.to(memory_format=torch.contiguous_format)
    with tempfile.TemporaryDirectory() as folder:
        files = [_files(Path(folder), number, picture) for number, picture in enumerate(pictures)]
        runs = [(_published(published, a, b), _ours(teacher, a, c)) for a, b, c in files]
        for run in runs[0]:  # not counted
            run()
        times = [alternate(*run, rounds=1)[0] for run in runs]
        pairs = [(np.array(Image.open(b)), np.array(Image.open(c))) for _, b, c in files]
    return {
        "dense.time_ratio": statistics.median(a / b for a, b in times),
        "dense.labels_differ": float(np.mean([theirs != mine for theirs, mine in pairs])),
        "dense.seconds": statistics.median(b for _, b in times),
        "dense.ignored": float(np.mean([mine == 255 for _, mine in pairs])),
        "dense.classes": len(np.unique([mine for _, mine in pairs])),
    }


def _files(folder: Path, number: int, picture: np.ndarray) -> tuple[Path, Path, Path]:
    """The picture's file and those of both labels."""
    source = folder / f"{number}.png"
    Image.fromarray(picture).save(source)
    return source, folder / f"{number}_published.png", folder / f"{number}_ours.png"


def _published(model: SegmentationModel, source: Path, target: Path) -> Callable[[], None]:
    return lambda: plain.label_file(model, source, target, scales=SCALES, threshold=THRESHOLD)


def _ours(teacher: Teacher, source: Path, target: Path) -> Callable[[], None]:
    return lambda: ours(teacher, source, target)
