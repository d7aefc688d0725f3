"""Makes a `torch.export` program of a network: it needs torch only, and takes any batch, height and width."""

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
from autolabel.models.weights_file import EXPORTED_CARD

DEEPEST = 32  # the coarsest stride of any trunk; its map is traced as a map, not as a value, from two pixels up


def smallest_side(scales: Sequence[float]) -> int:
    """The smallest height and width of a program: at its lowest scale the deepest map has more than one pixel."""
    return math.ceil((DEEPEST + 1) / min(scales))


def torch_program(network: nn.Module, smallest: int, card: str) -> bytes:
    """A .pt2 file of `network`, images (B, 3, H, W) -> logits, for sides from `smallest` up, on the CPU.

    It contains the JSON text `card` as an extra file. ExportError if torch cannot trace the network.
    """
    try:
        return _saved(_traced(network, smallest), card)
    except Exception as error:  # torch raises many types of errors
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ExportError(
            "model.pt2", f"torch.export cannot trace this network: {reason}", "leave torch out"
        ) from error


def _traced(network: nn.Module, smallest: int) -> ExportedProgram:
    side = Dim.DYNAMIC(min=smallest)
    # Equal, even or minimal sides would suggest relations that hold for this example only.
    example = torch.zeros(2, 3, smallest + 5, 2 * smallest + 3)
    with quiet(), torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=({0: Dim.DYNAMIC(min=1), 2: side, 3: side},))


def _saved(program: ExportedProgram, card: str) -> bytes:
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains file names of this machine
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(program, buffer, extra_files={EXPORTED_CARD: card})
    return buffer.getvalue()


def load_program(data: bytes) -> Callable[[Tensor], Tensor]:
    with quiet():
        module = torch.export.load(io.BytesIO(data)).module()
    return torch.no_grad()(module)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence torch: it warns of its own deprecations and of channels-last weights, which it stores correctly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
