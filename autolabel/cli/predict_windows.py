"""Windows of `predict`: those that the user asks for, or those that memory makes necessary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from autolabel.cli.options import parse_size
from autolabel.errors import AutolabelError
from autolabel.hardware import free_memory, narrowest_limit
from autolabel.progress import print_err

if TYPE_CHECKING:
    import numpy as np
    import torch

    from autolabel.models import Network

_WORTH_SAYING = 1 / 4  # of what a limit of the process leaves
_OVERLAP = 256  # pixels; of small windows half


@dataclass(frozen=True)
class WindowOptions:
    size: tuple[int, int] | None = None  # height, width; None: only where memory would not suffice
    overlap: int | None = None


def window_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add --window and --overlap, passed as `windows`."""

    @wraps(function)
    def gathered(*, window: str | None, overlap: int | None, **rest: Any) -> None:
        size = None if window is None else parse_size(window)
        if size is not None and overlap is not None and overlap >= min(size):
            raise click.BadParameter(f"--overlap {overlap} is not less than both sides of --window {window}")
        function(windows=WindowOptions(size, overlap), **rest)

    size = click.option(
        "--window",
        metavar="HxW",
        help="Larger images are labelled in windows of this size; by default those that would not fit into memory are.",
    )
    overlap = click.option(
        "--overlap",
        type=click.IntRange(0),
        help=f"Overlap of windows in pixels; default: {_OVERLAP}, or half a window.",
    )
    return size(overlap(gathered))


class Windows:
    """The window of each image. `chosen`: name -> [height, width] of the images that memory forced into windows."""

    def __init__(
        self, model: Network, options: WindowOptions, *, scales: Sequence[float], flip: bool, device: torch.device
    ) -> None:
        from autolabel.inference.memory import WindowChooser

        self._options, self._device = options, device
        self._chooser = WindowChooser(model, scales, flip=flip, free=self._free)
        self._by_size: dict[tuple[int, int], tuple[int, int] | None] = {}
        self.chosen: dict[str, list[int]] = {}

    def of(self, image: str, pixels: np.ndarray, *, whole: bool) -> tuple[tuple[int, int] | None, int]:
        """The window (None: the image at once) and its overlap. AutolabelError if `whole` cannot be."""
        window = self._options.size
        if window is None:
            window = self._fitting(image, (pixels.shape[0], pixels.shape[1]))
            if window is not None:
                self.chosen[image] = list(window)
        if window is not None and whole and (pixels.shape[0] > window[0] or pixels.shape[1] > window[1]):
            what = "is labelled in windows, and --details needs the whole image at once"
            raise AutolabelError(image, what, "leave --details out")
        if window is None:
            return None, 0
        wanted, side = self._options.overlap, min(window)
        return window, min(_OVERLAP, side // 2) if wanted is None else min(wanted, side - 1)

    def _fitting(self, image: str, size: tuple[int, int]) -> tuple[int, int] | None:
        """Chosen once per size, so that all frames of a film are treated alike; said on stderr."""
        if size not in self._by_size:
            try:
                self._by_size[size] = window = self._chooser.window(*size)
            except AutolabelError as error:
                raise AutolabelError(image, error.what, error.remedy) from error
            if window is None:
                self._say_how_near(image, size)
            else:
                needed = f"needs about {self._chooser.needed(*size) / 1e9:.1f} GB of memory, more than is free"
                how = f"{size[1]} x {size[0]} at once {needed}; labelled in windows of {window[1]} x {window[0]}"
                print_err(f"autolabel: {image}: {how}, which --window chooses")
        return self._by_size[size]

    def _say_how_near(self, image: str, size: tuple[int, int]) -> None:
        """Say where an image may just fit, and where a limit that people may not know of will decide about others."""
        if shortage := self._chooser.shortage(*size):
            print_err(f"autolabel: {image}: {shortage}; labelled whole all the same (--window HxW takes less)")
            return
        limit = narrowest_limit() if self._device.type == "cpu" else None
        if limit is None:
            return
        needed, free = self._chooser.needed(*size), self._free()
        if needed > _WORTH_SAYING * free:
            print_err(
                f"autolabel: {image}: takes about {needed / 1e9:.1f} of the {free / 1e9:.1f} GB that {limit} leaves"
            )

    def _free(self) -> int:
        if self._device.type == "cuda":
            import torch

            return int(torch.cuda.mem_get_info(self._device)[0])
        return free_memory()
