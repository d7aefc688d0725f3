from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from autolabel.inference import cuda_graphs
from autolabel.inference.cuda_graphs import CudaGraphs, StaticPasses
from autolabel.inference.optimize import prepare
from autolabel.models import ScaleOutput, build_model

SMALL = {"trunk": "hrnet_tiny", "head_channels": 16, "key_channels": 8, "attention_channels": 8}


def double(images: torch.Tensor, *, attention: bool = True) -> ScaleOutput:
    return ScaleOutput(2 * images, images if attention else None, None)


def test_frequent_shapes_are_recorded_and_rare_ones_stay_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "MAX_GRAPHS", 2)
    recorded: list[tuple[int, bool]] = []

    def record(function, images, attention):
        recorded.append((images.shape[-1], attention))
        return lambda images: function(images, attention=attention)

    passes = StaticPasses(double, record)
    for width, attention, times in [(4, True, 5), (4, False, 3), (5, True, 3), (4, False, 2), (5, True, 9)]:
        for i in range(times):
            images = torch.full((1, 3, 2, width), float(i))
            out = passes(images, attention=attention)
            assert torch.equal(out.logits, 2 * images)
            assert (out.attention is not None) == attention
    assert recorded == [(4, True), (4, False)]


def test_a_shape_that_cannot_be_recorded_stays_eager(capsys: pytest.CaptureFixture[str]) -> None:
    attempts: list[int] = []

    def record(function, images, attention):
        attempts.append(images.shape[-1])
        raise torch.OutOfMemoryError("no memory to record\nmore")

    passes = StaticPasses(double, record)
    images = torch.ones(1, 3, 2, 4)
    for _ in range(2 * cuda_graphs.EAGER_PASSES):
        assert torch.equal(passes(images).logits, 2 * images)
    assert attempts == [4]
    assert capsys.readouterr().err == "images of 4 x 2 run without a CUDA graph: no memory to record\n"


@pytest.mark.slow
def test_every_recording_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond dynamo's usual limit of 8 versions of one function."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 8)
    compilations: list[int] = []

    def backend(graph, inputs):
        compilations.append(1)
        return graph.forward

    for width in range(1, cuda_graphs.MAX_GRAPHS + 1):
        images = torch.ones(1, 3, 2, width)
        out = cuda_graphs.compiled_pass(double, backend=backend)(images, attention=width % 2 == 0)
        assert torch.equal(out.logits, 2 * images)
    assert len(compilations) == cuda_graphs.MAX_GRAPHS


def test_a_recording_is_warmed_up_on_a_side_stream_and_lets_loader_threads_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of calls on CUDA. While a pass is recorded, loader threads pin memory and wait for events."""
    calls: list[str] = []

    class Stream:
        def __init__(self, name: str = "side") -> None:
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            calls.append(f"{self.name} waits for {other.name}")

    class Graph:
        def replay(self) -> None:
            calls.append("replay")

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        calls.append(f"on {stream.name}")
        yield
        calls.append(f"off {stream.name}")

    @contextmanager
    def recording(graph: Graph, *, pool: str, capture_error_mode: str) -> Iterator[None]:
        calls.append(f"record in {pool}, {capture_error_mode}")
        yield
        calls.append("recorded")

    def function(images: torch.Tensor, *, attention: bool = True) -> ScaleOutput:
        calls.append("pass")
        return ScaleOutput(images, None, None)  # what the graph writes is what it reads: a replay changes nothing

    fakes = {
        "graph_pool_handle": lambda: "the pool",
        "Stream": Stream,
        "current_stream": lambda: Stream("current"),
        "stream": on,
        "CUDAGraph": Graph,
        "graph": recording,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(cuda_graphs, "compiled_pass", lambda function: function)
    images = torch.ones(1, 3, 2, 4)
    replay = CudaGraphs()(function, images, True)
    warmed_up = ["side waits for current", "on side", "pass", "pass", "off side", "current waits for side"]
    assert calls == [*warmed_up, "record in the pool, thread_local", "pass", "recorded"]
    first = replay(images).logits
    second = replay(5 * images).logits
    assert torch.equal(first, images), "the second replay has overwritten the first result"
    assert torch.equal(second, 5 * images)
    assert calls[-2:] == ["replay", "replay"]


def test_autocast_keeps_no_casts_of_labelling_weights() -> None:
    """It keeps those of leaves that need a gradient; a graph would read them after they were freed."""
    prepared = prepare(build_model(SMALL, 5), torch.device("cpu"), torch.bfloat16)
    assert not [name for name, weight in prepared.named_parameters() if weight.requires_grad]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recorded_pass_gives_what_the_eager_one_gives() -> None:
    torch.manual_seed(0)
    model = build_model(SMALL, 5).eval().cuda()
    with torch.inference_mode():
        passes = StaticPasses(model.forward_scale, CudaGraphs())
        for _ in range(2 * cuda_graphs.EAGER_PASSES):
            images = torch.randn(2, 3, 64, 96, device="cuda")
            for ours, theirs in zip(passes(images), model.forward_scale(images), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
