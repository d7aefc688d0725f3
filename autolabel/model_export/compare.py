"""Compares the output of an exported network with that of the original."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from autolabel.errors import ExportError

TOLERANCE = 1e-3  # relative to the spread of the logits; another order of float32 sums differs a hundred times less
LABELS = 0.999  # fraction of pixels with the same label: ties may fall either way


class Difference(NamedTuple):
    """The difference of two maps of logits of the same images."""

    shape: tuple[int, int, int]  # batch, height, width
    largest: float  # absolute
    spread: float  # standard deviation of the network's own logits
    labels: float  # fraction of pixels with the same highest class

    @property
    def small(self) -> bool:
        return self.largest <= TOLERANCE * self.spread and self.labels >= LABELS  # NaN is never small


def compare(
    run: Callable[[Tensor], Tensor], network: Callable[[Tensor], Tensor], shape: tuple[int, int, int]
) -> Difference:
    """Run both on the same images (B, 3, H, W) of `shape` (B, H, W). ExportError if `run` fails on them."""
    images = _images(shape)
    with torch.no_grad():
        ours = network(images)
    try:
        theirs = run(images)
    except Exception as error:  # an assertion of a program, or any error of a runtime
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ExportError("export", f"fails for {shape[1]}x{shape[2]}: {reason}", "nothing was written") from error
    if theirs.shape != ours.shape:
        raise ExportError("export", f"gives {tuple(theirs.shape)} where the network gives {tuple(ours.shape)}")
    return Difference(
        shape,
        largest=(theirs - ours).abs().max().item(),
        spread=ours.std().item(),
        labels=(theirs.argmax(dim=1) == ours.argmax(dim=1)).double().mean().item(),
    )


def check(name: str, differences: list[Difference]) -> None:
    """ExportError for the file `name` if one of the differences is not small."""
    for d in differences:
        if not d.small:
            where = f"at {d.shape[1]}x{d.shape[2]} by {d.largest:.3g}, the logits' spread being {d.spread:.3g}"
            what = f"differs from the network {where}; {100 * d.labels:.2f} % of labels agree"
            raise ExportError(name, what, "nothing was written")


def _images(shape: tuple[int, int, int]) -> Tensor:
    """Patches of colour with grain, like a normalised image; always the same."""
    batch, height, width = shape
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(batch, 3, -(-height // 16), -(-width // 16), generator=generator)
    grain = torch.randn(batch, 3, height, width, generator=generator)
    return F.interpolate(patches, size=(height, width), mode="nearest") + 0.2 * grain
