"""A network of the transformers library as one of ours: probabilities at every pixel, and training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from autolabel.errors import WeightsError
from autolabel.models.huggingface.architectures import Architecture
from autolabel.models.huggingface.class_mapping import NONE
from autolabel.models.huggingface.scores import Logits, Output, as_probabilities, scores
from autolabel.models.layers import at_least_float32
from autolabel.models.model import TrainOutput
from autolabel.models.resize import resize, scaled_size

# Parameters of backbones that no output depends on. Training over several processes waits for every gradient.
_IDLE = (".mask_token", ".swin.layernorm.weight", ".swin.layernorm.bias")
SMALLEST = 64  # pixels a side: below that strides leave too little to normalise


class HuggingFaceModel(nn.Module):
    """Images are RGB, normalised (`models.normalise`), (B, 3, H, W), of any size from one pixel up.

    `train_ids` says for each of the network's classes which of the `num_classes` ours it counts for (or NONE).
    """

    def __init__(self, network: Any, architecture: Architecture, train_ids: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture
        self.num_classes = num_classes
        self._maps = tuple(num_classes if train_id == NONE else train_id for train_id in train_ids)
        self._window: int | None = _square(network.config.image_size) if architecture.windowed else None
        self._multiple = _multiple(network.config, architecture.multiple)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not name.endswith(_IDLE))

    @property
    def has_our_classes(self) -> bool:
        """Each of its classes is the one of ours with the same number."""
        return self._maps == tuple(range(self.num_classes))

    def probabilities(self, images: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
        """(B, K + 1, H, W) float32 that sum to 1 at every pixel, seen at one scale; the last map is of no class.

        The network gets the image at the workable size nearest to the scaled one; what it returns is resized back.
        """
        size = images.shape[-2], images.shape[-1]
        inputs = resize(images, self.workable_size(scaled_size(size, scale)))
        if self._window is not None:
            return as_probabilities(resize(self._in_windows(inputs, self._window), size))
        return as_probabilities(self._scores(inputs, size))

    def forward(self, images: torch.Tensor) -> TrainOutput:
        """The training pass of a trainable architecture, its auxiliary logits with it."""
        size = images.shape[-2], images.shape[-1]
        output = self._run(resize(images, self.workable_size(size)))
        assert isinstance(output, Logits), f"{self.architecture.title} is not trained here"
        auxiliary = None if output.auxiliary is None else resize(at_least_float32(output.auxiliary), size)
        return TrainOutput(resize(at_least_float32(output.logits), size), auxiliary, {})

    def checkpoint_blocks(self) -> list[nn.Module]:
        """The layers that the library says may run again in the backward pass (`Trunk.recomputable`), innermost."""
        from transformers.modeling_layers import GradientCheckpointingLayer as Layer

        layers = [module for module in self.network.modules() if isinstance(module, Layer)]
        return [layer for layer in layers if sum(isinstance(inner, Layer) for inner in layer.modules()) == 1]

    def workable_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size nearest to `size` that the network can take (in windows: that a window fits into)."""
        height, width = size
        if self._window is None:
            return _rounded(height, self._multiple), _rounded(width, self._multiple)
        factor = max(1.0, self._window / min(size))
        return max(self._window, round(height * factor)), max(self._window, round(width * factor))

    def _scores(self, images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return scores(self._run(images), self._maps, self.num_classes + 1, size)

    def _run(self, images: torch.Tensor) -> Output:
        try:
            return self.architecture.run(self.network, images)
        except Exception as error:  # a config can build what then fits together nowhere
            if isinstance(error, torch.OutOfMemoryError) or self.training:
                raise  # who calls can do with less, or has words of its own
            height, width = images.shape[-2:]
            what = f"cannot process an image of {width} x {height}: {error}".splitlines()[0][:300]
            raise WeightsError(self.architecture.title, what, "check its config.json") from error

    def _in_windows(self, images: torch.Tensor, side: int) -> torch.Tensor:
        """Scores (B, K + 1, h, w) of square windows spread evenly over the images, averaged where they overlap."""
        batch, _, height, width = images.shape
        found = images.new_zeros((batch, self.num_classes + 1, height, width), dtype=torch.float32)
        count = images.new_zeros((height, width), dtype=torch.float32)
        for top in _starts(height, side):
            for left in _starts(width, side):
                place = (..., slice(top, top + side), slice(left, left + side))
                found[place] += self._scores(images[place], (side, side))
                count[place] += 1
        return found / count


def _starts(length: int, side: int) -> Iterator[int]:
    count = -(-length // side)
    for index in range(count):
        yield 0 if count == 1 else index * (length - side) // (count - 1)


def _rounded(length: int, multiple: int) -> int:
    """In integers, and by torch's own maximum: the length is a symbol while a network is exported."""
    nearest: int = torch.sym_max(-(-SMALLEST // multiple), (2 * length + multiple) // (2 * multiple))
    return nearest * multiple


def _multiple(config: Any, multiple: int) -> int:
    """Pyramids divide by 32; a plain transformer as the backbone has patches of its own size."""
    patch = getattr(getattr(config, "backbone_config", None), "patch_size", 1)
    patch = patch if isinstance(patch, int) else max(patch)
    return multiple if multiple % patch == 0 else patch


def _square(size: Any) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise ValueError(f"its images are {size}; only square ones are known")
    side: int = sides.pop()
    return side
