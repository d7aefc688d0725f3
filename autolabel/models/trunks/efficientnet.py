"""EfficientNet B0-B7 (Tan and Le, arXiv 1905.11946) and EfficientNet-Lite (tensorflow/tpu, efficientnet/lite).

The stages consist of inverted residual blocks (Sandler et al., arXiv 1801.04381); widths and depths are scaled from B0.
Lite has no squeeze-and-excitation and ReLU6 instead of SiLU; its stem keeps B0's width, its first and last stage B0's
depth. Convolutions pad as TensorFlow's "SAME" does: the extra pixel of an odd padding goes below and to the right. The
1x1 convolution before the classifier is left out, as in published segmentation networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from autolabel.models.layers import conv_norm
from autolabel.models.trunks.trunk import Features, Trunk

NORM_EPS = 1e-3
SQUEEZE = 4  # ratio of a block's input channels to the inner channels of its squeeze-and-excitation
DIVISOR = 8  # of every width


@dataclass(frozen=True)
class Stage:
    """Blocks with the same number of channels; `stride` is that of the first block."""

    blocks: int
    channels: int
    kernel: int
    stride: int
    expansion: int = 6


B0 = (
    Stage(1, 16, 3, 1, expansion=1),
    Stage(2, 24, 3, 2),
    Stage(2, 40, 5, 2),
    Stage(3, 80, 3, 2),
    Stage(3, 112, 5, 1),
    Stage(4, 192, 5, 2),
    Stage(1, 320, 3, 1),
)
B0_STEM = 32
TINY = (  # the kernels and strides of B0, one block per stage where possible
    Stage(1, 16, 3, 1, expansion=1),
    Stage(1, 16, 3, 2, expansion=2),
    Stage(1, 24, 5, 2, expansion=2),
    Stage(1, 32, 3, 2, expansion=2),
    Stage(2, 32, 5, 1, expansion=2),
    Stage(1, 48, 5, 2, expansion=2),
    Stage(1, 64, 3, 1, expansion=2),
)
# (width, depth) relative to B0, from the code published with arXiv 1905.11946, and for Lite.
SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2.0, 3.1))
LITE_SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8))


@dataclass(frozen=True)
class EfficientNetShape:
    """Settings of a network of the family."""

    stem: int
    stages: tuple[Stage, ...]
    lite: bool = False


def efficientnet_shape(width: float, depth: float) -> EfficientNetShape:
    """B0 with compound scaling (arXiv 1905.11946, section 3.3)."""
    return EfficientNetShape(_scaled(B0_STEM, width), tuple(_scaled_stage(stage, width, depth) for stage in B0))


def efficientnet_lite_shape(width: float, depth: float) -> EfficientNetShape:
    """B0 scaled for Lite: the stem keeps its width, the first and last stage their depth."""
    first, *middle, last = B0
    stages = (
        _scaled_stage(first, width, 1),
        *(_scaled_stage(stage, width, depth) for stage in middle),
        _scaled_stage(last, width, 1),
    )
    return EfficientNetShape(B0_STEM, stages, lite=True)


class SameConv(nn.Conv2d):
    """Convolution without bias by default, with "SAME" padding: the output size is ceil(size / stride)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        padding = dilation * (kernel // 2) if stride == 1 else 0  # at other strides it depends on the size
        super().__init__(inputs, outputs, kernel, stride, padding, dilation, groups, bias)

    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        x, weight, padding = self.with_padding(input, weight)
        return F.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)

    def with_padding(self, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
        """Input, weights and symmetric padding (rows, columns) of a convolution that equals this one.

        Where the end needs one zero more than the start, that is one more row or column of zeros in front of a
        depthwise kernel: a few products with zero take less time than a padded copy of a large map.
        """
        if self.stride == (1, 1):
            return x, weight, (self.padding[0], self.padding[1])  # type: ignore[return-value]  # no text here
        kernel, stride = self.kernel_size[0], self.stride[0]
        (left, right), (top, bottom) = (_same(x.shape[axis], kernel, stride) for axis in (3, 2))
        of_any_size = not all(isinstance(length, int) for length in x.shape[2:])  # while a network is exported
        if self.groups == 1 or x.device.type != "cpu" or of_any_size:
            return F.pad(x, (left, right, top, bottom)), weight, (0, 0)
        return x, F.pad(weight, (right - left, 0, bottom - top, 0)), (bottom, right)


class SameConvNorm(nn.Module):
    """Convolution with "SAME" padding, batch norm and, by default, an activation.

    Depthwise if `groups` = `inputs`. The output size is ceil(size / stride).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.conv = SameConv(inputs, outputs, kernel, stride=stride, dilation=dilation, groups=groups)
        self.norm = nn.BatchNorm2d(outputs, eps=NORM_EPS)
        self.activation = activation
        # He et al. 2015, normal, fan out; a depthwise output channel reads one input channel.
        nn.init.normal_(self.conv.weight, std=math.sqrt(2 * groups / (outputs * kernel**2)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = conv_norm(self.conv, self.norm, x)
        return x if self.activation is None else self.activation(x)


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the means over the image (Hu et al., arXiv 1709.01507)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.expand = nn.Conv2d(inner, channels, 1)
        for conv in (self.reduce, self.expand):
            nn.init.normal_(conv.weight, std=math.sqrt(2 / conv.out_channels))
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.expand(F.silu(self.reduce(mean))))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise, squeeze-and-excitation unless `lite`, and a 1x1 projection without activation."""

    def __init__(self, inputs: int, stage: Stage, *, first: bool, stride: int, dilation: int, lite: bool) -> None:
        super().__init__()
        inner = inputs * stage.expansion
        active = partial(SameConvNorm, activation=relu6 if lite else F.silu)
        self.residual = inputs == stage.channels and not (first and stage.stride > 1)
        self.expand = active(inputs, inner) if stage.expansion > 1 else nn.Identity()
        self.depthwise = active(inner, inner, stage.kernel, stride=stride, dilation=dilation, groups=inner)
        self.excite = nn.Identity() if lite else SqueezeExcite(inner, max(1, inputs // SQUEEZE))
        self.project = SameConvNorm(inner, stage.channels)
        if self.residual:  # starts at zero, so that depth does not inflate the features
            nn.init.zeros_(self.project.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside: torch.Tensor = self.project(self.excite(self.depthwise(self.expand(x))))
        return inside + x if self.residual else inside


class EfficientNet(Trunk):
    """The skip connections are the last features of every stride below the trunk's own.

    A stage that would exceed `stride` keeps its resolution, and the depthwise convolutions after its first are dilated
    instead. Without squeeze-and-excitation, its features then contain those of the undilated network.
    """

    def __init__(self, shape: EfficientNetShape, stride: int = 32) -> None:
        super().__init__()
        assert stride in (8, 16, 32), stride
        self.lite = shape.lite
        self.depths = tuple(stage.blocks for stage in shape.stages)
        self.stem = SameConvNorm(3, shape.stem, 3, stride=2, activation=relu6 if shape.lite else F.silu)
        self.blocks = nn.ModuleList()
        self.skip_channels: dict[int, int] = {}
        self.ends: dict[int, int] = {}  # index of the last block of a stride -> that stride
        at, dilation, inputs = 2, 1, shape.stem
        for stage in shape.stages:
            for number in range(stage.blocks):
                step = stage.stride if number == 0 else 1
                taken = step if at * step <= stride else 1
                if taken > 1:
                    self._end_of(at, inputs)
                block = InvertedResidual(
                    inputs, stage, first=number == 0, stride=taken, dilation=dilation, lite=shape.lite
                )
                self.blocks.append(block)
                at, dilation, inputs = at * taken, dilation * step // taken, stage.channels
        self.stride, self.channels = at, inputs

    def _end_of(self, stride: int, channels: int) -> None:
        self.skip_channels[stride] = channels
        self.ends[len(self.blocks) - 1] = stride

    def forward(self, images: torch.Tensor) -> Features:
        x, skips = self.stem(images), {}
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.ends:
                skips[self.ends[number]] = x
        return Features(x, skips)

    def layers_by_stride(self) -> list[tuple[int, nn.Module]]:
        layers: list[tuple[int, nn.Module]] = [(2, self.stem)]
        for block in self.blocks:
            assert isinstance(block, InvertedResidual)
            layers.append((layers[-1][0] * block.depthwise.conv.stride[0], block))
        return layers

    def checkpoint_blocks(self) -> list[nn.Module]:
        return [*self.blocks]


def relu6(x: torch.Tensor) -> torch.Tensor:
    return F.relu6(x, inplace=True)


def _same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after `length` pixels."""
    total = (-(-length // stride) - 1) * stride + kernel - length
    return total // 2, total - total // 2


def _scaled(channels: int, width: float) -> int:
    """Scaled channels, rounded to a multiple of 8 that is at least 90 % of the exact value."""
    exact = channels * width
    rounded = max(DIVISOR, int(exact + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < 0.9 * exact else rounded


def _scaled_stage(stage: Stage, width: float, depth: float) -> Stage:
    return Stage(
        math.ceil(depth * stage.blocks), _scaled(stage.channels, width), stage.kernel, stage.stride, stage.expansion
    )


def efficientnets() -> dict[str, Callable[[], Trunk]]:
    """Every network of the family by name: at stride 32, and dilated at 16 and 8."""
    shapes = {f"b{number}": efficientnet_shape(*scale) for number, scale in enumerate(SCALES)}
    shapes |= {f"lite{number}": efficientnet_lite_shape(*scale) for number, scale in enumerate(LITE_SCALES)}
    strides = {"": 32, "_os16": 16, "_os8": 8}
    return {
        f"efficientnet_{name}{ending}": partial(EfficientNet, shape, stride)
        for name, shape in shapes.items()
        for ending, stride in strides.items()
    }
