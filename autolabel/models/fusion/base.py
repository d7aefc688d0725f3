"""The base class of fusions, and the maps they take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autolabel.config.networks import ModelConfig
from autolabel.errors import ConfigError
from autolabel.models.resample import ResampleWeights
from autolabel.models.resize import resize

Axes = tuple[ResampleWeights, ResampleWeights]  # down, across


class StridedOutput(NamedTuple):
    """The output of one scale at the stride of the head, and the sizes that its maps are resized to before fusion."""

    scale: float
    logits: torch.Tensor  # (B, K, h, w), at the stride of the head
    attention: torch.Tensor | None  # (B, 1, h', w'); the highest scale needs none
    size: tuple[int, int]  # of the input image, to which the logits are resized
    attention_size: tuple[int, int]  # to which the attention is resized

    def resized(self) -> ScaledOutput:
        attention = None if self.attention is None else resize(self.attention, self.attention_size)
        return ScaledOutput(self.scale, resize(self.logits, self.size), attention)


class ScaledOutput(NamedTuple):
    """The output of one scale, at the size of its input image."""

    scale: float
    logits: torch.Tensor  # (B, K, h, w)
    attention: torch.Tensor | None  # (B, 1, h, w); the highest scale needs none


class Term(NamedTuple):
    """One step of a fusion in the CUDA kernel (`Fusion.terms`)."""

    logits: Tensor  # (B, K, h, w)
    attention: Tensor | None  # (B, 1, h', w'); None: `weight` everywhere
    weight: float
    adds: bool  # keep = 1
    own: Axes  # output pixel -> positions
    of_logits: Axes  # position -> pixels of `logits`
    of_attention: Axes  # position -> pixels of `attention`


class Fusion(ABC):
    """Combines the maps of several scales into one map of logits. All methods must agree with the formula in `fuse`."""

    fixed_scales: tuple[float, ...] = ()  # the scales that one attention head weighs together, if any

    def __init_subclass__(cls) -> None:
        """A subclass with its own `fuse` does not inherit the `terms` of another formula."""
        super().__init_subclass__()
        if "fuse" in cls.__dict__ and "terms" not in cls.__dict__:
            cls.terms = Fusion.terms  # type: ignore[method-assign]  # by its subclass

    @abstractmethod
    def fuse(self, outputs: Sequence[ScaledOutput]) -> Tensor:
        """Fused logits (B, K, H, W) at the size of scale 1.0.

        The maps may also be lazy (`models.lazy_rows`), which support only `resize` and +, -, *, /.
        """

    @abstractmethod
    def weights(self, outputs: Sequence[ScaledOutput]) -> dict[float, Tensor]:
        """scale -> (B, 1, H, W): the weight of each scale at every pixel."""

    def terms(self, view: Sequence[StridedOutput]) -> list[Term] | None:
        """The same formula for the CUDA kernel; None if it has no such form, and `fuse` then runs strip by strip.

        The kernel starts with F = 0 and applies F <- sum_i w_i a_i p_i + keep F for each term in order, where F are the
        fused logits of a pixel. i runs over the positions in the scale's own image that the pixel is resampled from,
        w_i are their resampling weights, a_i the attention and p_i the logits there, both resampled from the head's
        stride. keep = 1 - sum_i w_i a_i, or 1 if the term `adds`. The number of terms depends only on the scales.
        """
        return None

    def head(self, inputs: int, table: ModelConfig) -> nn.Module | None:
        """The module that computes attention from features of `inputs` channels; None for a fusion without one."""
        return None

    def training_scales(self, table: ModelConfig) -> tuple[float, ...]:
        """The scales of the training pass, in this order."""
        return (1.0,)

    def check(self, scales: Sequence[float]) -> None:
        """Raise ConfigError for scales that cannot be fused."""
        if 1.0 not in scales or len(set(scales)) != len(scales):
            raise ConfigError("scales", f"{list(scales)} must be distinct and hold 1.0, the output size")
        if self.fixed_scales and set(scales) not in ({1.0}, set(self.fixed_scales)):
            name = type(self).__name__.lower()
            why = f"{list(scales)} do not fit {name} fusion, which is trained on {list(self.fixed_scales)}"
            raise ConfigError("scales", why, "use those scales, or 1.0 alone")
