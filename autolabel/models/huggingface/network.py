"""Wraps a network of the transformers library: probabilities per pixel, and training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from autolabel.errors import WeightsError
from autolabel.models.huggingface.architectures import Architecture
from autolabel.models.huggingface.class_mapping import NONE
from autolabel.models.huggingface.prompts import Tokens
from autolabel.models.huggingface.scores import Logits, Output, as_probabilities, scores
from autolabel.models.layers import at_least_float32
from autolabel.models.model import TrainOutput
from autolabel.models.resize import resize, scaled_size

# Parameters of backbones that no output depends on. Distributed training waits for the gradient of every parameter.
_IDLE = (".mask_token", ".swin.layernorm.weight", ".swin.layernorm.bias")
SMALLEST = 64  # pixels per side; below that, the maps at high strides are too small to normalise


class HuggingFaceModel(nn.Module):
    """Takes RGB images (B, 3, H, W), normalised (`models.normalise`), of any size from one pixel up.

    `train_ids` maps each class of the network to one of the experiment's `num_classes` (or NONE). The
    classes of a network that is prompted are its `prompts`.
    """

    def __init__(
        self,
        network: Any,
        architecture: Architecture,
        train_ids: Sequence[int],
        num_classes: int,
        prompts: Sequence[Tokens] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture
        self.num_classes = num_classes
        self._maps = tuple(num_classes if train_id == NONE else train_id for train_id in train_ids)
        self._inputs = (tuple(prompts),) if architecture.prompted else ()
        self._window: int | None = _square(network.config.image_size) if architecture.windowed else None
        self._divisor = _size_divisor(network.config, architecture.size_divisor)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not name.endswith(_IDLE))

    @property
    def trunk(self) -> nn.Module:
        """The pretrained part: the backbone of a network that has one, otherwise its base model."""
        part = getattr(self.network, "backbone", None) or self.network.base_model
        assert isinstance(part, nn.Module), type(self.network)
        return part

    @property
    def window(self) -> int | None:
        """The side of the windows that it cuts an image into; None if it takes whole images."""
        return self._window

    @property
    def has_our_classes(self) -> bool:
        """Whether the network has exactly the classes of the experiment, in order."""
        return self._maps == tuple(range(self.num_classes))

    def probabilities(self, images: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
        """Probabilities at one scale: (B, K + 1, H, W) float32, sum 1 at every pixel; the last map is for no class.

        The image is resized to the workable size nearest to the scaled one, and the output back to the image size.
        """
        size = images.shape[-2], images.shape[-1]
        input_size = self._input_size(size, scale)
        inputs = resize(images, input_size)
        # A squashed image is seen whole: its scores are resized once, from the network's own maps.
        seen_whole = self.architecture.squashed and input_size == (self._window, self._window)
        if self._window is not None and not seen_whole:
            return as_probabilities(resize(self._in_windows(inputs, self._window), size))
        return as_probabilities(self._scores(inputs, size))

    def forward(self, images: torch.Tensor) -> TrainOutput:
        """The training pass of a trainable architecture, with auxiliary logits."""
        size = images.shape[-2], images.shape[-1]
        output = self._run(resize(images, self.workable_size(size)))
        assert isinstance(output, Logits), f"{self.architecture.title} cannot be trained"
        auxiliary = None if output.auxiliary is None else resize(at_least_float32(output.auxiliary), size)
        return TrainOutput(resize(at_least_float32(output.logits), size), auxiliary, {})

    def checkpoint_blocks(self) -> list[nn.Module]:
        """The innermost layers that the library marks as recomputable (see `Trunk.checkpoint_blocks`)."""
        from transformers.modeling_layers import GradientCheckpointingLayer as Layer

        layers = [module for module in self.network.modules() if isinstance(module, Layer)]
        return [layer for layer in layers if sum(isinstance(inner, Layer) for inner in layer.modules()) == 1]

    def workable_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size nearest to `size` that the network accepts; a windowed network needs at least one window."""
        height, width = size
        if self._window is None:
            return _rounded(height, self._divisor), _rounded(width, self._divisor)
        factor = max(1.0, self._window / min(size))
        return max(self._window, round(height * factor)), max(self._window, round(width * factor))

    def _input_size(self, size: tuple[int, int], scale: float) -> tuple[int, int]:
        if self._window is None or not self.architecture.squashed:
            return self.workable_size(scaled_size(size, scale))
        side = max(self._window, round(self._window * scale))
        return side, side

    def _scores(self, images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return scores(self._run(images), self._maps, self.num_classes + 1, size)

    def _run(self, images: torch.Tensor) -> Output:
        try:
            return self.architecture.run(self.network, images, *self._inputs)
        except Exception as error:  # a config can describe a network whose layers do not fit together
            if isinstance(error, torch.OutOfMemoryError) or self.training:
                raise  # the caller handles it
            height, width = images.shape[-2:]
            what = f"cannot process an image of {width} x {height}: {error}".splitlines()[0][:300]
            raise WeightsError(self.architecture.title, what, "check its config.json") from error

    def _in_windows(self, images: torch.Tensor, side: int) -> torch.Tensor:
        """Scores (B, K + 1, h, w) of evenly spaced square windows, averaged where they overlap."""
        batch, _, height, width = images.shape
        total = images.new_zeros((batch, self.num_classes + 1, height, width), dtype=torch.float32)
        count = images.new_zeros((height, width), dtype=torch.float32)
        for top in _starts(height, side):
            for left in _starts(width, side):
                window = (..., slice(top, top + side), slice(left, left + side))
                total[window] += self._scores(images[window], (side, side))
                count[window] += 1
        return total.div_(count)


def _starts(length: int, side: int) -> Iterator[int]:
    count = -(-length // side)
    for index in range(count):
        yield 0 if count == 1 else index * (length - side) // (count - 1)


def _rounded(length: int, divisor: int) -> int:
    """The nearest multiple; integers and torch's maximum, because the length is symbolic during an export."""
    nearest: int = torch.sym_max(-(-SMALLEST // divisor), (2 * length + divisor) // (2 * divisor))
    return nearest * divisor


def _size_divisor(config: Any, divisor: int) -> int:
    """The architecture's divisor, or the patch size of a plain transformer backbone if it does not divide that."""
    patch = getattr(getattr(config, "backbone_config", None), "patch_size", 1)
    patch = patch if isinstance(patch, int) else max(patch)
    return divisor if divisor % patch == 0 else patch


def _square(size: Any) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise ValueError(f"its images are {size}; only square images are supported")
    side: int = sides.pop()
    return side
