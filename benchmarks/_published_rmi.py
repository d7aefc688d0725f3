"""The RMI loss as published (Zhao et al., arXiv 1910.12037; constants of the released networks), in plain form.

One-hot labels, every neighbourhood cut out, inverse and Cholesky factor in float64, the gradient by autograd.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

FLOOR, RIDGE, LOG_FLOOR = 1e-6, 5e-4, 1e-8


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """0.5 BCE + 0.5 RMI of logits (B, K, H, W) and labels (B, H, W) int64, ignored where not below K."""
    num_classes = logits.shape[1]
    valid = labels < num_classes
    weight = valid.to(logits.dtype)
    one_hot = F.one_hot(torch.where(valid, labels, 0), num_classes).to(logits.dtype) * weight.unsqueeze(3)
    rows = logits.permute(0, 2, 3, 1).reshape(-1, num_classes)
    bce = F.binary_cross_entropy_with_logits(
        rows, one_hot.view(-1, num_classes), weight=weight.view(-1, 1), reduction="sum"
    )
    p = F.avg_pool2d(torch.sigmoid(logits) * weight.unsqueeze(1) + FLOOR, 4, 4, 2)
    y = F.avg_pool2d(one_hot.permute(0, 3, 1, 2), 4, 4, 2)
    return 0.5 * bce / (weight.sum() + 1) + 0.5 * information(p, y).to(bce.dtype)


def information(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Pooled maps (B, K, h, w): sum over classes of the mean over images of 0.5 logdet(M + ridge) / 9."""
    p, y = _windows(p), _windows(y)
    ridge = RIDGE * torch.eye(9, dtype=torch.float64, device=p.device)
    y_p = y @ p.mT
    m = y @ y.mT - y_p @ torch.inverse(p @ p.mT + ridge) @ y_p.mT
    pivots = torch.linalg.cholesky(m + ridge).diagonal(dim1=-2, dim2=-1)
    return torch.log(pivots + LOG_FLOOR).sum(dim=-1).mean(dim=0).sum() / 9


def _windows(maps: torch.Tensor) -> torch.Tensor:
    """(B, K, h, w) -> (B, K, 9, positions) float64, centred."""
    height, width = maps.shape[2] - 2, maps.shape[3] - 2
    shifts = [maps[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    cut = torch.stack(shifts, dim=2).flatten(3).double()
    return cut - cut.mean(dim=3, keepdim=True)
