"""From 8-bit pictures to what a network reads: the one place."""

from __future__ import annotations

from collections.abc import Sequence

import torch

# Statistics of ImageNet in RGB on [0, 1]; they belong to the weights and travel with them (`WeightsCard`).
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(images: torch.Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> torch.Tensor:
    """RGB uint8, (B, H, W, 3) or (B, 3, H, W), -> float32 (B, 3, H, W): (x / 255 - mean) / std.

    A batch that fits both layouts (H = 3 and W = 3) is read as (B, H, W, 3), the layout of decoded pictures.
    """
    assert images.ndim == 4, images.shape
    assert images.dtype == torch.uint8, images.dtype
    if images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    assert images.shape[1] == 3, images.shape
    normal = images.to(torch.float32)
    for channel, m, s in zip(normal.unbind(1), mean, std, strict=True):  # by numbers: a tensor of them waits for a GPU
        channel.sub_(m * 255).mul_(1 / (s * 255))
    return normal
