"""Passes of a fixed shape as CUDA graphs: a small scale is a thousand short kernels, whose launches take longer than
they do. Shapes that come rarely stay eager: recording one costs more than it saves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from autolabel.models import ScaleOutput

Pass = Callable[..., ScaleOutput]  # (images (B, 3, H, W), attention=...)
Record = Callable[[Pass, Tensor, bool], Callable[[Tensor], ScaleOutput]]

AFTER = 3  # passes of a shape before it is recorded
KEPT = 12  # recordings at most


class StaticPasses:
    """`function`, recorded by `record` once a shape has come often enough; a shape is that of the images, with or
    without attention."""

    def __init__(self, function: Pass, record: Record) -> None:
        self._function, self._record = function, record
        self._seen: Counter[tuple[torch.Size, bool]] = Counter()
        self._recorded: dict[tuple[torch.Size, bool], Callable[[Tensor], ScaleOutput]] = {}

    def __call__(self, images: Tensor, *, attention: bool = True) -> ScaleOutput:
        shape = images.shape, attention
        self._seen[shape] += 1
        if shape not in self._recorded:
            if self._seen[shape] <= AFTER or len(self._recorded) == KEPT:
                return self._function(images, attention=attention)
            self._recorded[shape] = self._record(self._function, images, attention)
        return self._recorded[shape](images)


class CudaGraphs:
    """Records a pass, compiled first, as a CUDA graph; all graphs share one pool of memory, for none run at once."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Pass, images: Tensor, attention: bool) -> Callable[[Tensor], ScaleOutput]:
        compiled = torch.compile(function, dynamic=False)
        held = images.clone()  # where the graph reads
        self._warm_up(compiled, held, attention)
        graph = torch.cuda.CUDAGraph()
        # Meanwhile other threads pin the pictures to come, which asks events: by default that breaks any recording.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            out = compiled(held, attention=attention)

        def replay(images: Tensor) -> ScaleOutput:
            held.copy_(images)
            graph.replay()
            # The next graph may write where this one's results lie.
            return ScaleOutput(out.logits.clone(), _copy(out.attention), _copy(out.aux))

        return replay

    def _warm_up(self, function: Pass, images: Tensor, attention: bool) -> None:
        """Compiling and choosing algorithms must not be recorded; beside the current stream, as torch asks for."""
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(2):
                function(images, attention=attention)
        torch.cuda.current_stream().wait_stream(beside)


def _copy(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.clone()
