"""What a fusion is, and the maps that it takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autolabel.config.schema import ModelConfig
from autolabel.errors import ConfigError
from autolabel.models.resample import ResampleWeights
from autolabel.models.resize import resize

Axes = tuple[ResampleWeights, ResampleWeights]  # down, across


class StridedOutput(NamedTuple):
    """One scale's evidence as its network gives it, with the sizes it is to be resized to before it is fused."""

    scale: float
    logits: torch.Tensor  # (B, K, h, w), at the stride of the head
    attention: torch.Tensor | None  # (B, 1, h', w'); the highest scale needs none
    size: tuple[int, int]  # of the image that was fed in: the logits'
    attention_size: tuple[int, int]  # the attention's

    def resized(self) -> ScaledOutput:
        attention = None if self.attention is None else resize(self.attention, self.attention_size)
        return ScaledOutput(self.scale, resize(self.logits, self.size), attention)


class ScaledOutput(NamedTuple):
    """One scale's evidence, at the size of the image that was fed in."""

    scale: float
    logits: torch.Tensor  # (B, K, h, w)
    attention: torch.Tensor | None  # (B, 1, h, w); the highest scale needs none


class Term(NamedTuple):
    """One step of a fusion that the CUDA kernel runs pixel by pixel (`Fusion.terms`)."""

    logits: Tensor  # (B, K, h, w)
    attention: Tensor | None  # (B, 1, h', w'); None: `weight` everywhere
    weight: float
    adds: bool  # keep = 1
    own: Axes  # output pixel -> positions
    of_logits: Axes  # position -> pixels of `logits`
    of_attention: Axes  # position -> pixels of `attention`


class Fusion(ABC):
    """How the maps of several scales become one map of logits. `fuse` is the formula; all else must agree with it."""

    fixed_scales: tuple[float, ...] = ()  # the scales that the head weighs together, if it does

    def __init_subclass__(cls) -> None:
        """A formula of its own does not inherit the terms of another."""
        super().__init_subclass__()
        if "fuse" in cls.__dict__ and "terms" not in cls.__dict__:
            cls.terms = Fusion.terms  # type: ignore[method-assign]  # by its subclass

    @abstractmethod
    def fuse(self, outputs: Sequence[ScaledOutput]) -> Tensor:
        """Fused logits (B, K, H, W) at the size of scale 1.0.

        The maps may also be row maps (`models.rowmap`), which know `resize` and +, -, *, / alone.
        """

    @abstractmethod
    def weights(self, outputs: Sequence[ScaledOutput]) -> dict[float, Tensor]:
        """scale -> (B, 1, H, W): how much each scale counts at every pixel."""

    def terms(self, view: Sequence[StridedOutput]) -> list[Term] | None:
        """The same formula for the CUDA kernel, or None where it has no such form: then `fuse` runs strip by strip.

        In the order of the list, a pixel's fused logits become  F <- sum_i w_i a_i p_i + keep F,  starting at 0. The
        i are the positions of the scale's own image that the pixel is resampled from, w_i their weights, a_i the
        attention and p_i the logits there, themselves resampled from the head's stride; keep = 1 - sum_i w_i a_i, or 1
        where a term `adds`. The number of terms depends on the scales alone.
        """
        return None

    def head(self, inputs: int, table: ModelConfig) -> nn.Module | None:
        """The module that computes attention from features of `inputs` channels; None where there is no attention."""
        return None

    def training_scales(self, table: ModelConfig) -> tuple[float, ...]:
        """The scales that training runs, in this order."""
        return (1.0,)

    def check(self, scales: Sequence[float]) -> None:
        """ConfigError for scales that cannot be fused."""
        if 1.0 not in scales or len(set(scales)) != len(scales):
            raise ConfigError("scales", f"{list(scales)} must be distinct and hold 1.0, the output size")
        if self.fixed_scales and set(scales) not in ({1.0}, set(self.fixed_scales)):
            name = type(self).__name__.lower()
            why = f"{list(scales)} do not fit {name} fusion, which has learnt to weigh {list(self.fixed_scales)}"
            raise ConfigError("scales", why, "those, or 1.0 alone")
