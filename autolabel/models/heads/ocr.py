"""Object-contextual representations (Yuan et al., arXiv 1909.11065).

A coarse segmentation (the auxiliary logits) gathers one feature vector per class. Every pixel attends to the class
vectors by similarity, and is classified from this context together with its own features.
"""

from __future__ import annotations

import torch
from torch import nn

from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.layers import ClassifierConv, ConvNorm
from autolabel.models.trunks import Features, Trunk


class ObjectContext(nn.Module):
    """Attention from pixels to class vectors: softmax over classes of the scaled similarity."""

    def __init__(self, channels: int, key_channels: int) -> None:
        super().__init__()
        self.scale = key_channels**-0.5
        self.pixel = nn.Sequential(ConvNorm(channels, key_channels), ConvNorm(key_channels, key_channels))
        self.object = nn.Sequential(ConvNorm(channels, key_channels), ConvNorm(key_channels, key_channels))
        self.value = ConvNorm(channels, key_channels)
        self.up = ConvNorm(key_channels, channels)

    def forward(self, features: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) features and (B, C, K, 1) class vectors -> (B, C, h, w) context."""
        query = self.pixel(features)  # (B, D, h, w)
        key = self.object(classes).flatten(2)  # (B, D, K)
        value = self.value(classes).flatten(2)  # (B, D, K)
        similarity = query.flatten(2).transpose(1, 2) @ key * self.scale  # (B, h w, K)
        context = (similarity.softmax(dim=-1) @ value.transpose(1, 2)).transpose(1, 2)  # (B, D, h w)
        output: torch.Tensor = self.up(context.reshape(query.shape))
        return output


class OCRHead(Head):
    """Features of `channels` channels, at the trunk's stride."""

    def __init__(
        self, trunk: Trunk, num_classes: int, *, channels: int = 512, key_channels: int = 256, dropout: float = 0.05
    ) -> None:
        super().__init__()
        inputs = trunk.channels
        self.channels = channels
        self.stride = trunk.stride
        self.pixels = ConvNorm(inputs, channels, 3, bias=True)
        self.context = ObjectContext(channels, key_channels)
        self.merge = ConvNorm(2 * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = ClassifierConv(channels, num_classes)
        self.aux = ConvNorm(inputs, inputs, bias=True)
        self.aux_classifier = ClassifierConv(inputs, num_classes)

    def forward(self, trunk_features: Features) -> HeadOutput:
        trunk = trunk_features.high
        features = self.pixels(trunk)
        aux = self.aux_classifier(self.aux(trunk))  # (B, K, h, w)
        regions = aux.flatten(2).softmax(dim=-1)  # (B, K, h w): where each class lies
        classes = (regions @ features.flatten(2).transpose(1, 2)).transpose(1, 2).unsqueeze(-1)  # (B, C, K, 1)
        merged = self.merge(torch.cat([self.context(features, classes), features], dim=1))
        merged = self.dropout(merged)
        return HeadOutput(merged, self.classifier(merged), aux)
