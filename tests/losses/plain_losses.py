"""Reference losses written as their definitions, in float64 and at full size, and inputs for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def one_hot(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Float64; an ignored pixel is zero in every class."""
    return (labels[:, None] == torch.arange(num_classes)[:, None, None]).double()


def plain_bce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    valid = (labels < logits.shape[1]).double()
    each = F.binary_cross_entropy_with_logits(logits, one_hot(labels, logits.shape[1]), reduction="none")
    return (each * valid[:, None]).sum() / (valid.sum() + 1)


def plain_rmi(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """As PARITY.md, "RMI loss", writes it: unfold, inverse, Cholesky factor of the conditional covariance."""
    batch, classes = logits.shape[:2]
    p = torch.sigmoid(logits) * (labels < classes).double()[:, None] + 1e-6
    p, y = (F.avg_pool2d(x, 4, 4, 2) for x in (p, one_hot(labels, classes)))

    def windows(x: torch.Tensor) -> torch.Tensor:
        x = F.unfold(x, 3).view(batch, classes, 9, -1)
        return x - x.mean(dim=-1, keepdim=True)

    p, y = windows(p), windows(y)
    ridge = 5e-4 * torch.eye(9, dtype=torch.float64)
    yp = y @ p.mT
    m = y @ y.mT - yp @ torch.linalg.inv(p @ p.mT + ridge) @ yp.mT
    pivots = torch.linalg.cholesky(m + ridge).diagonal(dim1=-2, dim2=-1)
    return torch.log(pivots + 1e-8).sum(dim=-1).mean(dim=0).sum() / 9


def plain_total(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return 0.5 * plain_bce(logits, labels) + 0.5 * plain_rmi(logits, labels)


def example(height: int, width: int, *, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 logits that need a gradient, and labels in patches with ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, height, width, generator=generator, dtype=torch.float64)
    patches = torch.randint(0, classes, (2, height // 4 + 1, width // 4 + 1), generator=generator)
    labels = patches.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :height, :width].clone()
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = 255
    return logits.requires_grad_(), labels
