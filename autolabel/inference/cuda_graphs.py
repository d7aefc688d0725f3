"""Forward passes of a fixed shape as CUDA graphs.

A small scale is a thousand short kernels, whose launches take longer than the kernels. Rare shapes stay eager:
recording one costs more time than it saves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from autolabel.models import ScaleOutput
from autolabel.progress import print_err

Pass = Callable[..., ScaleOutput]  # (images (B, 3, H, W), attention=...)
Record = Callable[[Pass, Tensor, bool], Callable[[Tensor], ScaleOutput]]

EAGER_PASSES = 3  # of a shape before it is recorded
MAX_GRAPHS = 12


class StaticPasses:
    """Calls `function`, which `record` records once a shape is frequent; a shape is the images' with or without
    attention. A shape that cannot be compiled or recorded stays eager, after one line on stderr."""

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
            self._recorded[shape] = self._recorded_or_eager(images, attention)
        return self._recorded[shape](images)

    def _recorded_or_eager(self, images: Tensor, attention: bool) -> Callable[[Tensor], ScaleOutput]:
        try:
            return self._record(self._function, images, attention)
        except Exception as error:  # of many types: the compiler, its back-ends, Triton, the driver, memory
            height, width = images.shape[-2:]
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            print_err(f"images of {width} x {height} run without a CUDA graph: {reason}")
            return partial(self._function, attention=attention)


def compiled_pass(function: Pass, **options: Any) -> Pass:
    """The pass compiled for the shape of its first call; `options` are those of torch.compile.

    All recorded shapes share the code of one function, of which dynamo keeps 8 versions and then silently runs the
    original. There is room for every recording here, and with `fullgraph` an error instead of a silent original.
    """
    from torch._dynamo import config

    config.recompile_limit = max(config.recompile_limit, 4 * MAX_GRAPHS)
    compiled: Pass = torch.compile(function, dynamic=False, fullgraph=True, **options)
    return compiled


class CudaGraphs:
    """Records a pass, compiled first, as a CUDA graph; all graphs share one memory pool, as they never run at once."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Pass, images: Tensor, attention: bool) -> Callable[[Tensor], ScaleOutput]:
        compiled = compiled_pass(function)
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
