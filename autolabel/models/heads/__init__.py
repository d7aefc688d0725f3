"""Heads: trunk features -> class logits. A new head is one entry of `HEADS`."""

from __future__ import annotations

from collections.abc import Callable

from autolabel.config import Model
from autolabel.models.heads.attention import ScaleAttention
from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.heads.ocr import OCRHead


def _ocr(inputs: int, num_classes: int, table: Model) -> OCRHead:
    return OCRHead(
        inputs, num_classes, channels=table.head_channels, key_channels=table.key_channels, dropout=table.dropout
    )


HEADS: dict[str, Callable[[int, int, Model], Head]] = {"ocr": _ocr}

__all__ = ["HEADS", "Head", "HeadOutput", "ScaleAttention"]
