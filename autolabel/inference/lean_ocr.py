"""HRNet with OCR for inference: the same function with fewer operations.

- The branches of HRNet are neither resized nor concatenated (`branch_conv`).
- The context of a pixel is a mean of class vectors weighted by a softmax: the 1x1 convolution after it is applied to
  the few class vectors instead of to every pixel (the weights sum to 1, so its bias may go along).
- The 1x1 convolution over context and features together is one over each, added up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autolabel.inference.branch_conv import JoinedConv, PointwiseBranchConv, SpatialBranchConv, conv_with
from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.heads.ocr import OCRHead
from autolabel.models.trunks import Trunk
from autolabel.models.trunks.hrnet import HRNet


class Branches(Trunk):
    """An HRNet's branches as they are: (B, C_b, h_b, w_b), the finest first."""

    def __init__(self, trunk: HRNet) -> None:
        super().__init__()
        self.trunk, self.channels = trunk, trunk.channels

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.trunk.branches(images)


class LeanOCR(Head):
    """What `head`, whose norms are folded into its convolutions, gives on the branches of `channels` channels.

    `split`: form the products of the 3x3 convolution at each branch's own resolution; pays on CPUs.
    """

    def __init__(self, head: OCRHead, channels: Sequence[int], *, split: bool) -> None:
        super().__init__()
        self.channels, self.stride = head.channels, head.stride
        spatial = SpatialBranchConv if split else JoinedConv
        self.pixels = spatial(head.pixels.conv, channels)
        self.aux = PointwiseBranchConv(head.aux.conv, channels)
        self.aux_classifier, self.classifier = head.aux_classifier, head.classifier
        self.context = head.context
        of_context, of_features = head.merge.conv.weight.detach().split(head.channels, dim=1)
        self.merge_context = conv_with(of_context)
        self.merge_features = conv_with(of_features, head.merge.conv.bias)

    def forward(self, branches: Sequence[Tensor]) -> HeadOutput:
        features = torch.relu_(self.pixels(branches))
        aux = self.aux_classifier(torch.relu_(self.aux(branches)))  # (B, K, h, w)
        regions = aux.flatten(2).softmax(dim=-1)  # (B, K, h w): where each class lies
        classes = (regions @ features.flatten(2).transpose(1, 2)).transpose(1, 2).unsqueeze(-1)  # (B, C, K, 1)
        merged = self.merge_features(features)
        merged += self.merge_context(self._context(features, classes))
        merged = torch.relu_(merged)
        return HeadOutput(merged, self.classifier(merged), aux)

    def _context(self, features: Tensor, classes: Tensor) -> Tensor:
        """As `ObjectContext`: (B, C, h, w)."""
        query = self.context.pixel(features)  # (B, D, h, w)
        key = self.context.object(classes).flatten(2)  # (B, D, K)
        vectors = self.context.up.conv(self.context.value(classes)).flatten(2)  # (B, C, K)
        similarity = query.flatten(2).transpose(1, 2) @ key * self.context.scale  # (B, h w, K)
        context = torch.relu_(similarity.softmax(dim=-1) @ vectors.transpose(1, 2))  # (B, h w, C)
        return context.transpose(1, 2).unflatten(2, query.shape[-2:])
