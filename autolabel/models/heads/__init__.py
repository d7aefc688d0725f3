"""Heads: trunk features -> class logits. A new head is one entry of `HEADS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from autolabel.config.schema import ModelConfig
from autolabel.errors import ConfigError
from autolabel.models.heads.conv import ConvHead
from autolabel.models.heads.deeplabv3plus import LOW_STRIDE, DeeperHead, DeeperLabHead, DeepLabV3PlusHead
from autolabel.models.heads.fpn import FINEST, FPNHead
from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.heads.ocr import OCRHead
from autolabel.models.registry import choose
from autolabel.models.trunks import Trunk


@dataclass(frozen=True)
class HeadSpec:
    """How a head is built, and which trunks it fits."""

    build: Callable[[Trunk, int, ModelConfig], Head]
    joins: Callable[[Trunk], tuple[int, ...]] = lambda trunk: ()  # strides of the low-level features it reads
    coarsest: float = float("inf")  # stride of a trunk whose features it can still bring up

    def obstacle(self, trunk: Trunk) -> str:
        """Why it does not fit; empty where it does."""
        if missing := [str(stride) for stride in self.joins(trunk) if stride not in trunk.taps]:
            return f"it joins low-level features of stride {' and '.join(missing)}, which the trunk does not give apart"
        if trunk.stride > self.coarsest:
            return f"it brings features up from stride {self.coarsest} at most, the trunk's have {trunk.stride}"
        return ""


def _ocr(trunk: Trunk, num_classes: int, table: ModelConfig) -> Head:
    widths = {"channels": table.head_channels, "key_channels": table.key_channels}
    return OCRHead(trunk, num_classes, **widths, dropout=table.dropout)


def _fpn(trunk: Trunk, num_classes: int, table: ModelConfig) -> Head:
    """Half as wide: 128 channels in the published semantic branch, where a pyramid's level has 256."""
    return FPNHead(trunk, num_classes, width=max(1, table.key_channels // 2))


def _plain(kind: Callable[..., Head], trunk: Trunk, num_classes: int, table: ModelConfig) -> Head:
    return kind(trunk, num_classes, width=table.key_channels)


HEADS: dict[str, HeadSpec] = {
    "ocr": HeadSpec(_ocr),
    "conv": HeadSpec(partial(_plain, ConvHead)),
    "deeplabv3plus": HeadSpec(partial(_plain, DeepLabV3PlusHead), lambda trunk: (trunk.fine,)),
    "fpn": HeadSpec(_fpn, lambda trunk: (FINEST,)),
    "deeper": HeadSpec(partial(_plain, DeeperHead), lambda trunk: (2, 4)),
    # A trunk's pixel becomes a block of stride 4, and the channels are multiplied by its area: at stride 32 by 64.
    "deeperlab": HeadSpec(partial(_plain, DeeperLabHead), lambda trunk: (LOW_STRIDE,), coarsest=16),
}


def build_head(trunk: Trunk, num_classes: int, table: ModelConfig) -> Head:
    """The head that `table` names, with fresh weights; ConfigError for one that is not known or does not fit."""
    kind = choose("head", table.head, HEADS)
    if obstacle := kind.obstacle(trunk):
        fitting = ", ".join(sorted(name for name, other in HEADS.items() if not other.obstacle(trunk)))
        why = f"{table.head!r} does not fit trunk {table.trunk!r}: {obstacle}"
        raise ConfigError("model.head", why, f"heads for it: {fitting}")
    return kind.build(trunk, num_classes, table)


__all__ = ["HEADS", "Head", "HeadOutput", "build_head"]
