"""RMI and whole loss, forward and backward, against the published algorithm in plain form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import _published_rmi as published
import torch
from _measure import Work, memory_ratio, time_ratio

from autolabel.losses import rmi_loss
from autolabel.losses.rmi_statistics import gradient, information

Shape = tuple[int, int, int, int]
TINY = (1, 2, 16, 16)


def measure(device: str, rounds: int) -> dict[str, float]:
    """Ratios are published / ours; an error is the largest of a gradient in float32, relative to its largest value."""
    result = {}
    for name, (make, shape) in WORKS.items():
        theirs, ours = ((kind, shape, device) for kind in ("published", "ours"))
        result[f"{name}.time_ratio"] = time_ratio(make(*theirs), make(*ours), device=device, rounds=rounds)
        result[f"{name}.memory_ratio"] = memory_ratio(__name__, make.__name__, theirs, ours, rounds=3)
    p, y, counts = pooled_maps((2, 19, 128, 256), device)
    result["rmi.grad_rel_error"] = relative_error(our_rmi(p, y, counts).float(), published_rmi(p.double(), y, counts))
    logits, labels = logits_and_labels((2, 19, 128, 256), device)
    expected = loss_gradient(published.loss, logits.double(), labels)
    result["loss.grad_rel_error"] = relative_error(loss_gradient(rmi_loss, logits, labels), expected)
    return result


def rmi_work(kind: str, shape: Shape, device: str) -> Work:
    """The information of pooled maps, and its gradient with respect to the predictions."""
    run = {"published": published_rmi, "ours": our_rmi}[kind]
    run(*pooled_maps(TINY, device))  # warms up: loads libraries
    return partial(run, *pooled_maps(shape, device))


def loss_work(kind: str, shape: Shape, device: str) -> Work:
    """The loss of logits, and its gradient."""
    run = partial(loss_gradient, {"published": published.loss, "ours": rmi_loss}[kind])
    run(*logits_and_labels(TINY, device))
    return partial(run, *logits_and_labels(shape, device))


WORKS: dict[str, tuple[Callable[[str, Shape, str], Work], Shape]] = {
    "rmi": (rmi_work, (2, 19, 128, 256)),
    "loss": (loss_work, (1, 19, 1024, 2048)),
    "loss_small": (loss_work, (2, 19, 128, 256)),
}


def loss_gradient(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], logits: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    logits = logits.detach().requires_grad_()
    return torch.autograd.grad(loss(logits, labels), logits)[0]


def published_rmi(p: torch.Tensor, y: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    p = p.detach().requires_grad_()
    return torch.autograd.grad(published.information(p, y.to(p.dtype)), p)[0]


def our_rmi(p: torch.Tensor, y: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    predictions = p.double().flatten(0, 1)
    _, statistics = information(predictions, counts.flatten(0, 1))
    return gradient(predictions, counts.flatten(0, 1), statistics).view_as(p) / (9 * len(p))


def pooled_maps(shape: Shape, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Predictions and labels (B, K, h, w) float32, and the labels in sixteenths, uint8."""
    batch, classes, height, width = shape
    logits, labels = logits_and_labels((batch, classes, 2 * height, 2 * width), device)
    p = torch.nn.functional.avg_pool2d(torch.sigmoid(logits), 2)
    counts = (labels[:, None, ::2, ::2] == torch.arange(classes, device=device)[:, None, None]).to(torch.uint8) * 16
    return p, counts.float() / 16, counts


def logits_and_labels(shape: Shape, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels in blocks of 8x8 with a tenth of the pixels ignored; logits that are mostly right."""
    batch, classes, height, width = shape
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, classes, (batch, -(-height // 8), -(-width // 8)), generator=generator)
    labels = blocks.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)[:, :height, :width].contiguous()
    logits = torch.randn(shape, generator=generator).mul_(2)
    logits.scatter_(1, labels[:, None], logits.gather(1, labels[:, None]) + 4)
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = 255
    return logits.to(device), labels.to(device)


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return ((got.double() - expected).abs().max() / expected.abs().max()).item()
