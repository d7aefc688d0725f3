"""Mixed precision: which type the forward pass runs in, and loss scaling where its range needs it."""

from __future__ import annotations

import torch

from autolabel.errors import ConfigError

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Run matrix products in `precision`; weights, optimizer and losses stay in float32."""
    return torch.autocast(device.type, dtype=_TYPES[precision], enabled=precision != "fp32")


def loss_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Gradients of fp16 underflow without scaling; the others need none."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def check_precision(device: torch.device, precision: str) -> None:
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ConfigError("precision", f"{torch.cuda.get_device_name(device)} has no bf16", "use fp16 or fp32")
