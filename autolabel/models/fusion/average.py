"""No attention: every scale counts the same. What a model trained on a single scale can do with several."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autolabel.models.fusion.hierarchical import ScaleMaps
from autolabel.models.resize import resize


def _output_size(outputs: Sequence[ScaleMaps]) -> tuple[int, int]:
    """The size of scale 1.0, the output size."""
    at_one = next(o.logits for o in outputs if o.scale == 1)
    return at_one.shape[-2], at_one.shape[-1]


def average_scales(outputs: Sequence[ScaleMaps]) -> torch.Tensor:
    """Mean over the scales of the logits resized to the size of scale 1.0, which must be among them: (B, K, H, W)."""
    size = _output_size(outputs)
    first, *rest = (resize(o.logits, size) for o in outputs)
    return sum(rest, start=first) / len(outputs)


def average_weights(outputs: Sequence[ScaleMaps]) -> dict[float, torch.Tensor]:
    """scale -> (B, 1, H, W), 1 / number of scales everywhere."""
    height, width = _output_size(outputs)
    one = outputs[0].logits.new_ones((outputs[0].logits.shape[0], 1, height, width))
    return {o.scale: one / len(outputs) for o in outputs}
