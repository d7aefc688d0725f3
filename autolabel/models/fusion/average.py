"""The average of the scales, without attention, for a model that was trained on a single scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autolabel.models.fusion.base import Fusion, ScaledOutput, StridedOutput, Term
from autolabel.models.fusion.cuda_terms import by_descending_scale, linear_term, output_size
from autolabel.models.resize import resize


class Average(Fusion):
    """Averages the logits of all scales. Training uses scale 1.0 alone."""

    def fuse(self, outputs: Sequence[ScaledOutput]) -> torch.Tensor:
        """Mean of the logits, resized to the size of scale 1.0, which must be one of the scales: (B, K, H, W)."""
        size = _size_at_one(outputs)
        first, *rest = (resize(o.logits, size) for o in outputs)
        return sum(rest, start=first) / len(outputs) if rest else first

    def weights(self, outputs: Sequence[ScaledOutput]) -> dict[float, torch.Tensor]:
        """scale -> (B, 1, H, W), 1 / number of scales everywhere."""
        height, width = _size_at_one(outputs)
        one = outputs[0].logits.new_ones((outputs[0].logits.shape[0], 1, height, width))
        return {o.scale: one / len(outputs) for o in outputs}

    def terms(self, view: Sequence[StridedOutput]) -> list[Term]:
        size = output_size(view)
        return [linear_term(raw, size, weight=1 / len(view), adds=True) for raw in by_descending_scale(view)]


def _size_at_one(outputs: Sequence[ScaledOutput]) -> tuple[int, int]:
    """The size of scale 1.0, the output size."""
    at_one = next(o.logits for o in outputs if o.scale == 1)
    return at_one.shape[-2], at_one.shape[-1]
