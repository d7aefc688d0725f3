"""Mixed precision: which type the forward pass runs in, and loss scaling where its range needs it."""

from __future__ import annotations

import torch

from autolabel.errors import ConfigError

_LOWER = {"bf16": torch.bfloat16, "fp16": torch.float16}


def weight_type(precision: str) -> torch.dtype:
    """Of weights, optimizer, losses, and what a network reads."""
    return torch.float64 if precision == "fp64" else torch.float32


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Run matrix products in half precision where asked for; all else stays in `weight_type`."""
    return torch.autocast(device.type, dtype=_LOWER.get(precision), enabled=precision in _LOWER)


def loss_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Gradients of fp16 underflow without scaling; the others need none."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def check_precision(device: torch.device, precision: str) -> None:
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ConfigError("precision", f"{torch.cuda.get_device_name(device)} has no bf16", "use fp16 or fp32")
