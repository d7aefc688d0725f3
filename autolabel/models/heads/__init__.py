"""Heads: trunk features -> class logits. A new head is one entry of `HEADS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from autolabel.config.networks import ModelConfig
from autolabel.errors import SettingError
from autolabel.models.heads.conv import ConvHead
from autolabel.models.heads.deeplabv3plus import LOW_STRIDE, DeeperHead, DeeperLabHead, DeepLabV3PlusHead
from autolabel.models.heads.fpn import FINEST, FPNHead
from autolabel.models.heads.head import Head, HeadOutput
from autolabel.models.heads.ocr import OCRHead
from autolabel.models.lookup import choose
from autolabel.models.trunks import Trunk


@dataclass(frozen=True)
class HeadSpec:
    """The builder of a head, and which trunks the head fits."""

    build: Callable[[Trunk, int, ModelConfig], Head]
    skips: Callable[[Trunk], tuple[int, ...]] = lambda trunk: ()  # strides of the skip connections it reads
    max_stride: float = float("inf")  # of the trunk

    def mismatch(self, trunk: Trunk) -> str:
        """Why the head does not fit the trunk; empty if it fits."""
        if missing := [str(stride) for stride in self.skips(trunk) if stride not in trunk.skip_channels]:
            return f"it needs skip connections of stride {' and '.join(missing)}, which the trunk does not have"
        if trunk.stride > self.max_stride:
            return f"it upsamples from stride {self.max_stride} at most, and the trunk has stride {trunk.stride}"
        return ""


def _ocr(trunk: Trunk, num_classes: int, table: ModelConfig) -> Head:
    widths = {"channels": table.head_channels, "key_channels": table.key_channels}
    return OCRHead(trunk, num_classes, **widths, dropout=table.dropout)


def _fpn(trunk: Trunk, num_classes: int, table: ModelConfig) -> Head:
    """The published pyramid has 256 channels, its semantic branch 128."""
    return FPNHead(trunk, num_classes, width=table.key_channels)


def _plain(head: Callable[..., Head], trunk: Trunk, num_classes: int, table: ModelConfig) -> Head:
    return head(trunk, num_classes, width=table.key_channels)


HEADS: dict[str, HeadSpec] = {
    "ocr": HeadSpec(_ocr),
    "conv": HeadSpec(partial(_plain, ConvHead)),
    "deeplabv3plus": HeadSpec(partial(_plain, DeepLabV3PlusHead), lambda trunk: (trunk.low_level_stride,)),
    "fpn": HeadSpec(_fpn, lambda trunk: (FINEST,)),
    "deeper": HeadSpec(partial(_plain, DeeperHead), lambda trunk: (2, 4)),
    # A pixel of the trunk becomes a block at stride 4, and the channels grow by the area of the block: 64 at stride 32.
    "deeperlab": HeadSpec(partial(_plain, DeeperLabHead), lambda trunk: (LOW_STRIDE,), max_stride=16),
}


def build_head(trunk: Trunk, num_classes: int, table: ModelConfig) -> Head:
    """The head that `table` names, randomly initialised; ConfigError for an unknown head or one that does not fit."""
    spec = choose("head", table.head, HEADS)
    if mismatch := spec.mismatch(trunk):
        fitting = ", ".join(sorted(name for name, other in HEADS.items() if not other.mismatch(trunk)))
        why = f"{table.head!r} does not fit trunk {table.trunk!r}: {mismatch}"
        raise SettingError("model.head", why, f"heads for this trunk: {fitting}")
    return spec.build(trunk, num_classes, table)


__all__ = ["HEADS", "Head", "HeadOutput", "build_head"]
