"""Forward passes of a fixed shape as CUDA graphs.

A small scale is a thousand short kernels, whose launches take longer than the kernels. Rare shapes stay eager:
recording one costs more time than it saves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from autolabel.models import ScaleOutput

Pass = Callable[..., ScaleOutput]  # (images (B, 3, H, W), attention=...)
Record = Callable[[Pass, Tensor, bool], Callable[[Tensor], ScaleOutput]]

EAGER_PASSES = 3  # of a shape before it is recorded
MAX_GRAPHS = 12


class StaticPasses:
    """Calls `function`, which `record` records once a shape is frequent; a shape is the images' with or without
    attention."""

    def __init__(self, function: Pass, record: Record) -> None:
        self._function, self._record = function, record
        self._seen: Counter[tuple[torch.Size, bool]] = Counter()
        self._recorded: dict[tuple[torch.Size, bool], Callable[[Tensor], ScaleOutput]] = {}

    def __call__(self, images: Tensor, *, attention: bool = True) -> ScaleOutput:
        shape = images.shape, attention
        self._seen[shape] += 1
        if shape not in self._recorded:
            if self._seen[shape] <= EAGER_PASSES or len(self._recorded) == MAX_GRAPHS:
                return self._function(images, attention=attention)
            self._recorded[shape] = self._record(self._function, images, attention)
        return self._recorded[shape](images)


class CudaGraphs:
    """Records a pass, compiled first, as a CUDA graph; all graphs share one memory pool, as they never run at once."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Pass, images: Tensor, attention: bool) -> Callable[[Tensor], ScaleOutput]:
        compiled = torch.compile(function, dynamic=False)
        static_input = images.clone()  # the graph reads from here
        self._warm_up(compiled, static_input, attention)
        graph = torch.cuda.CUDAGraph()
        # Loader threads pin images meanwhile, which queries events; in the default mode that breaks a recording.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            out = compiled(static_input, attention=attention)

        def replay(images: Tensor) -> ScaleOutput:
            static_input.copy_(images)
            graph.replay()
            # The next graph may overwrite these results.
            return ScaleOutput(out.logits.clone(), _copy(out.attention), _copy(out.aux))

        return replay

    def _warm_up(self, function: Pass, images: Tensor, attention: bool) -> None:
        """Compile and choose algorithms before the recording, on a side stream as torch requires."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                function(images, attention=attention)
        torch.cuda.current_stream().wait_stream(side)


def _copy(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.clone()
