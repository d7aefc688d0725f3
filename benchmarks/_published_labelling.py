"""The published labelling path, as NVIDIA/semantic-segmentation runs it on an image, in plain torch and Pillow.

Every scale whole: logits, auxiliary logits and attention, the highest scale's too, are brought to the size of the
scale's image; logits and auxiliary logits are fused from the highest scale to the lowest in float32 at full size; the
softmax goes to the host, where the maximum and the threshold are taken. Maps lie in memory as torch lays them out by
default, norms are run as such, and the label PNG is Pillow's default. Left out, in its favour: the map of
probabilities that it stores beside each label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autolabel.models import SegmentationModel

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
Size = tuple[int, int]


class Pass(NamedTuple):
    """One scale at the size of its image."""

    logits: Tensor  # (1, K, h, w)
    aux: Tensor  # (1, K, h, w)
    attention: Tensor  # (1, 1, h, w)


def run_scale(model: SegmentationModel, images: Tensor) -> Pass:
    """`model` is an HRNet with OCR and hierarchical attention, in eval mode."""
    out = model.head(model.trunk(images))
    return upsampled(out.logits, out.aux, model.attention(out.features), _size(images))


def upsampled(logits: Tensor, aux: Tensor, attention: Tensor, size: Size) -> Pass:
    return Pass(*(_resized(values, size) for values in (logits, aux, attention)))


def fuse(passes: Mapping[float, Pass], size: Size) -> Tensor:
    """Logits (1, K, H, W); the fused auxiliary logits are computed on the way, as published, and not used."""
    (_, (logits, aux, _)), *rest = sorted(passes.items(), reverse=True)
    for scale, low in rest:
        if scale >= 1:
            logits, aux = _resized(logits, _size(low.logits)), _resized(aux, _size(low.logits))
            logits = low.attention * low.logits + (1 - low.attention) * logits
            aux = low.attention * low.aux + (1 - low.attention) * aux
        else:
            weighted = _resized(low.attention * low.logits, size)
            weighted_aux = _resized(low.attention * low.aux, size)
            attention = _resized(low.attention, size)
            logits = weighted + (1 - attention) * logits
            aux = weighted_aux + (1 - attention) * aux
    return logits


@torch.no_grad()
def probabilities(
    model: SegmentationModel, images: Tensor, scales: Sequence[float], autocast: torch.autocast
) -> Tensor:
    """Softmax (1, K, H, W) of normalised images (1, 3, H, W), on the device; scales are fused in float32."""
    height, width = _size(images)
    passes = {}
    for scale in scales:
        with autocast:
            found = run_scale(model, _resized(images, (int(height * scale), int(width * scale))))
        passes[scale] = Pass(*(values.float() for values in found))
    return F.softmax(fuse(passes, (height, width)), dim=1)


def labels_of(probabilities: Tensor, threshold: float) -> np.ndarray:
    """(H, W) uint8 train ids, 255 where the probability does not exceed the threshold; decided on the host."""
    highest, winner = probabilities.cpu().max(1)
    labels = winner[0].numpy().astype(np.uint8)
    labels[highest[0].numpy() <= threshold] = 255
    return labels


def label(
    model: SegmentationModel,
    image: np.ndarray,
    scales: Sequence[float],
    threshold: float,
    autocast: torch.autocast,
) -> np.ndarray:
    """(H, W) uint8 train ids of an RGB image (H, W, 3)."""
    normalised = (image.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    device = next(model.parameters()).device
    images = torch.from_numpy(normalised).permute(2, 0, 1)[None].contiguous().to(device)
    return labels_of(probabilities(model, images, scales, autocast), threshold)


def _resized(values: Tensor, size: Size) -> Tensor:
    if _size(values) == size:
        return values
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)


def _size(values: Tensor) -> Size:
    return values.shape[-2], values.shape[-1]
