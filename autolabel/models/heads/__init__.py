"""Heads: trunk features -> class logits. A new head is one entry of `HEADS`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from autolabel.config import Model
from autolabel.errors import ConfigError
from autolabel.models.heads.conv import ConvHead
from autolabel.models.heads.deeper import DeeperHead
from autolabel.models.heads.deeperlab import DeeperLabHead
from autolabel.models.heads.deeplabv3plus import DeepLabV3PlusHead
from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.heads.ocr import OCRHead
from autolabel.models.trunks import Trunk


def _ocr(trunk: Trunk, num_classes: int, table: Model) -> Head:
    return OCRHead(
        trunk.channels,
        num_classes,
        channels=table.head_channels,
        key_channels=table.key_channels,
        dropout=table.dropout,
    )


def _conv(trunk: Trunk, num_classes: int, table: Model) -> Head:
    return ConvHead(trunk.channels, num_classes, width=table.key_channels)


def _decoder(kind: Callable[..., Head], trunk: Trunk, num_classes: int, table: Model) -> Head:
    _require_taps(trunk, table)
    return kind(trunk, num_classes, width=table.key_channels)


def _require_taps(trunk: Trunk, table: Model) -> None:
    """Decoders join low-level features; HRNet's features hold them already, and it offers none apart."""
    if not trunk.taps:
        why = f"{table.head!r} joins low-level features, which trunk {table.trunk!r} does not give apart"
        raise ConfigError("model.head", why, "heads for it: conv, ocr")


HEADS: dict[str, Callable[[Trunk, int, Model], Head]] = {
    "ocr": _ocr,
    "conv": _conv,
    "deeplabv3plus": partial(_decoder, DeepLabV3PlusHead),
    "deeper": partial(_decoder, DeeperHead),
    "deeperlab": partial(_decoder, DeeperLabHead),
}

__all__ = ["HEADS", "Head", "HeadOutput"]
