"""Validation during training: mIoU of the current weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from torch import nn

from autolabel.data.loaders import SegmentationDataset
from autolabel.distributed import SINGLE_PROCESS, ProcessGroup
from autolabel.evaluation.confusion import confusion_matrix
from autolabel.evaluation.iou import EvaluationResult, evaluation_result
from autolabel.models.layers import normalise
from autolabel.parallel import OrderedMap
from autolabel.signals import StopFlag
from autolabel.training.online_labels import evaluating
from autolabel.training.optim import autocast, weight_type

_READERS = 2  # threads that read images while the network runs


def chosen_images(num_images: int, limit: int | None) -> list[int]:
    """At most `limit` indices, spread evenly: lists are sorted, so their first images may all be of one city."""
    count = min(num_images, limit or num_images)
    return [i * num_images // count for i in range(count)]


@torch.inference_mode()
def validate(
    model: nn.Module,
    pairs: SegmentationDataset,
    *,
    limit: int | None,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    precision: str,
    stop: StopFlag,
    world: ProcessGroup = SINGLE_PROCESS,
) -> EvaluationResult:
    """Evaluate on whole images, one at a time, with the scales of training and no flip; restores the training mode.

    Each rank evaluates its part of the images and receives the result of all.
    """
    num_classes = len(class_names)
    matrix = np.zeros((num_classes, num_classes + 1), dtype=np.int64)
    with evaluating(model):
        chosen = chosen_images(len(pairs), limit)
        mine = chosen[world.rank :: world.size]
        with OrderedMap(pairs.__getitem__, mine, workers=_READERS, ahead=_READERS) as read:
            samples = iter(read)
            for _ in range(0, len(chosen), world.size):
                world.check(stop)  # on every rank, also one without images left
                for sample in islice(samples, 1):
                    image = torch.from_numpy(sample.image)[None].to(device)
                    inputs = normalise(image, mean, std).to(weight_type(precision))
                    with autocast(device, precision):
                        logits = model(inputs).fused  # (1, K, H, W)
                    prediction = logits[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
                    matrix += confusion_matrix(prediction, sample.label, num_classes)
        matrix = world.all_reduce_sum(torch.from_numpy(matrix)).numpy()
    return evaluation_result(matrix, class_names)
