"""A network together with the scales it labels at: one module, for export and for counting."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from autolabel.models.model import SegmentationModel


class AtScales(nn.Module):
    """Normalised images (B, 3, H, W) -> fused logits (B, K, H, W): what labelling without flip decides on.

    ConfigError for scales that the network's fusion cannot fuse.
    """

    def __init__(self, model: SegmentationModel, scales: Sequence[float]) -> None:
        super().__init__()
        model.fusion.check(scales)
        self.model = model
        self.scales = tuple(sorted(map(float, scales), reverse=True))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.fusion.fuse(self.model.scale_maps(images, self.scales))
