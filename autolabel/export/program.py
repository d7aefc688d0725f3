"""A network as a `torch.export` program: runs with torch alone, for any batch, height and width."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from autolabel.errors import ExportError

CARD = "card.json"
DEEPEST = 32  # no trunk has a map of a coarser stride; from two pixels on it is traced as a map, not as a single value


def smallest_side(scales: Sequence[float]) -> int:
    """The least height and width that a program takes: at its lowest scale, more than one pixel of the deepest map."""
    return math.ceil((DEEPEST + 1) / min(scales))


def torch_program(network: nn.Module, smallest: int, card: str) -> bytes:
    """A .pt2 file of `network`, images (B, 3, H, W) -> logits, for sides from `smallest` up, on the CPU.

    The JSON text `card` is kept in it as an extra file. ExportError where torch cannot trace the network.
    """
    try:
        return _saved(_traced(network, smallest), card)
    except Exception as error:  # torch raises whatever the part that fails raises
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ExportError(
            "model.pt2", f"torch.export cannot trace this network: {reason}", "leave torch out"
        ) from error


def _traced(network: nn.Module, smallest: int) -> ExportedProgram:
    side = Dim.DYNAMIC(min=smallest)
    # Sides that are alike, even, or the least allowed would suggest relations which hold for this example only.
    example = torch.zeros(2, 3, smallest + 5, 2 * smallest + 3)
    with quiet(), torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=({0: Dim.DYNAMIC(min=1), 2: side, 3: side},))


def _saved(program: ExportedProgram, card: str) -> bytes:
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names the files of this machine
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(program, buffer, extra_files={CARD: card})
    return buffer.getvalue()


def load_program(data: bytes) -> Callable[[Tensor], Tensor]:
    with quiet():
        module = torch.export.load(io.BytesIO(data)).module()
    return torch.no_grad()(module)


@contextmanager
def quiet() -> Iterator[None]:
    """Torch warns of its own deprecations, and of weights in channels-last order, which it stores correctly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
