"""In bf16 the trunk runs in half precision; the layers whose outputs decide a label run in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from autolabel.config.networks import ModelConfig
from autolabel.inference import optimize_eomt, optimize_huggingface, optimize_oneformer, query_masks
from autolabel.inference.model import InferenceModel, LogitPredictor, ProbabilityPredictor
from autolabel.inference.multiscale import forward_views
from autolabel.inference.optimize_hrnet import Decision
from autolabel.labels.codebook import Codebook
from autolabel.models import HuggingFaceModel, Network, NetworkCard, build_model
from autolabel.models.huggingface.architectures import ARCHITECTURES
from tests.helpers.experiments import NARROW

OURS = {
    "HRNet-OCR": ("hrnet_tiny", "ocr"),
    "DeepLabV3+": ("resnet_tiny_os16", "deeplabv3plus"),
    "FPN": ("resnet_tiny", "fpn"),
}
KINDS = ["segformer", "upernet-resnet", "beit", "mask2former", "oneformer", "eomt", "eomt_dinov3"]


class Seen:
    """Types of what the deciding layers read and give, and how many other layers gave bf16."""

    def __init__(self) -> None:
        self.decisions: list[str] = []
        self.types: set[torch.dtype] = set()
        self.halves = 0


@contextmanager
def watched(model: nn.Module) -> Iterator[Seen]:
    seen = Seen()
    inner = {id(layer.layer) for layer in model.modules() if isinstance(layer, Decision)}

    def decides(name: str, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen.decisions.append(name)
        seen.types |= {output.dtype, *(x.dtype for x in inputs)}

    def counts(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        seen.halves += output.dtype == torch.bfloat16

    handles = []
    for name, layer in model.named_modules():
        if id(layer) in inner:
            handles.append(layer.register_forward_hook(lambda _, x, y, name=name: decides(name, x, y)))
            assert all(weight.dtype == torch.float32 for weight in layer.parameters()), name
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            handles.append(layer.register_forward_hook(counts))
    yield seen
    for handle in handles:
        handle.remove()


def in_bf16(model: Network) -> InferenceModel:
    classes = model.num_classes
    card = NetworkCard(class_names=tuple(f"class {k}" for k in range(classes)))
    return InferenceModel(model, card, Codebook(classes), scales=(0.5, 1.0), precision="bf16")


@pytest.mark.parametrize("fusion", ["hierarchical", "explicit"])
@pytest.mark.parametrize("name", OURS)
def test_logits_and_attention_of_our_networks(name: str, fusion: str) -> None:
    trunk, head = OURS[name]
    table = ModelConfig(trunk=trunk, head=head, fusion=fusion, **NARROW)
    teacher = in_bf16(build_model(table, 3).eval())
    assert isinstance(teacher.predictor, LogitPredictor)
    model = teacher.predictor.model
    with watched(model) as seen, torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        (maps,) = forward_views(model, torch.randn(1, 3, 64, 96), (0.5, 1.0, 2.0))
    assert seen.types == {torch.float32}
    assert seen.halves > 10
    assert {name.split(".")[0] for name in seen.decisions} == {"head", "attention"}
    assert all(one.logits.dtype == torch.float32 for one in maps)
    attention = [one.attention.dtype for one in maps if one.attention is not None]
    assert attention
    assert set(attention) == {torch.float32}


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_networks_of_transformers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = pytest.importorskip("tests.helpers.hf_folders", reason="needs the extra hf")
    architecture = ARCHITECTURES[kind.split("-")[0]]
    model = HuggingFaceModel(folders.build(kind), architecture, range(len(folders.NAMES)), len(folders.NAMES)).eval()
    teacher = in_bf16(model)
    masks: list[torch.dtype] = []

    def made(vectors: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        found = query_masks.mask_logits(vectors, features)
        masks.append(found.dtype)
        return found

    for module in (optimize_eomt, optimize_huggingface, optimize_oneformer):
        monkeypatch.setattr(module, "mask_logits", made)
    assert isinstance(teacher.predictor, ProbabilityPredictor)
    network = teacher.predictor.model
    assert isinstance(network, HuggingFaceModel)
    size = network.workable_size((64, 96)) if network.window is None else (network.window, network.window)
    with watched(network) as seen, torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = network._run(torch.randn(1, 3, *size))
        probabilities = network.probabilities(torch.randn(1, 3, *size))
    assert seen.types == {torch.float32}
    assert seen.halves > 10
    assert {x.dtype for x in output if x is not None} == {torch.float32}
    assert set(masks) == ({torch.float32} if architecture.queries else set())
    assert probabilities.dtype == torch.float32
