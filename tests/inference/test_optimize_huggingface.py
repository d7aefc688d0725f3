"""An optimized network of transformers is the same function: equal in float64 except for rounding."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from autolabel.inference import optimize_segformer
from autolabel.inference.model import ProbabilityPredictor, code_predictor
from autolabel.inference.onednn import TokenLinear, prefer_onednn
from autolabel.inference.optimize_huggingface import attention_mask, prepare_huggingface
from autolabel.inference.optimize_oneformer import DeformableAttention, _grid_centres
from autolabel.models import HuggingFaceModel
from autolabel.models.huggingface.architectures import ARCHITECTURES
from autolabel.models.huggingface.scores import Logits
from autolabel.models.layers import ClassifierConv
from tests.helpers.hf_folders import NAMES, build

CHANGED = ["segformer", "upernet-resnet", "upernet-swin", "upernet-dinov2", "beit", "mask2former", "mask2former-resnet"]
CHANGED += ["oneformer", "oneformer-convnext", "eomt", "eomt_dinov3"]


def network(kind: str, **changes: Any) -> HuggingFaceModel:
    """In float64, with norms that are not the identity."""
    built = build(kind, **changes).double()
    for norm in built.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.2, 0.6)
            nn.init.normal_(norm.bias, std=0.1)
        elif isinstance(norm, nn.Conv2d | nn.Linear) and norm.bias is not None:
            nn.init.normal_(norm.bias, std=0.1)
    return HuggingFaceModel(built, ARCHITECTURES[kind.split("-")[0]], range(len(NAMES)), len(NAMES)).eval()


@pytest.mark.parametrize("kind", CHANGED)
@torch.inference_mode()
def test_same_output(kind: str) -> None:
    model = network(kind)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    prepared = prepare_huggingface(model)
    assert set(prepared.state_dict()) != set(before), "nothing was optimized"
    if kind == "eomt":
        for layer in model.network.layers:
            layer.register_forward_pre_hook(_mask_in_float64)
    for size in [(64, 96), (96, 160)]:
        size = (32, 32) if kind.startswith(("beit", "eomt")) else prepared.workable_size(size)
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        expected, output = model._run(images), prepared._run(images)
        for ours, theirs in zip(output[:2], expected[:2], strict=True):
            if theirs is not None:
                assert theirs.std() > 1e-3
                torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    assert isinstance(expected, Logits) == (not ARCHITECTURES[kind.split("-")[0]].queries)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), "the model itself changed"


def _mask_in_float64(layer: nn.Module, inputs: tuple[torch.Tensor | None, ...]) -> tuple[torch.Tensor | None, ...]:
    """The library's mask is float32, with which torch's attention in float64 is wrong from 16 tokens on."""
    return tuple(x if x is None else x.double() for x in inputs)


@pytest.mark.parametrize("masked", [[True, False, True], [False, True, False], [False] * 3])
@pytest.mark.parametrize("kind", ["eomt", "eomt_dinov3"])
@torch.inference_mode()
def test_blocks_of_eomt_with_and_without_masks(kind: str, masked: list[bool]) -> None:
    """A block without a mask of its own keeps that of the block before it, as in the library."""
    model = network(kind, num_blocks=3)
    model.network.attn_mask_probs.copy_(torch.tensor(masked).double())
    for layer in model.network.layers if kind == "eomt" else ():
        layer.register_forward_pre_hook(_mask_in_float64)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected, output = model._run(images), prepare_huggingface(model)._run(images)
    for ours, theirs in zip(output[:2], expected[:2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_a_network_that_drops_masks_at_random_stays_as_it_is() -> None:
    model = network("eomt")
    model.network.attn_mask_probs.fill_(0.5)
    assert set(prepare_huggingface(model).state_dict()) == set(model.state_dict())


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("use_task_norm", [True, False])
@torch.inference_mode()
def test_forms_of_oneformer(pre_norm: bool, use_task_norm: bool) -> None:
    """Norms before or after the layers, a token with and without its norm, all levels twice."""
    changes = {"pre_norm": pre_norm, "use_task_norm": use_task_norm, "query_dec_layers": 2}
    model = network("oneformer", **changes, decoder_layers=7)
    prepared = prepare_huggingface(model)
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected, output = model._run(images), prepared._run(images)
    for ours, theirs in zip(output[:2], expected[:2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@torch.inference_mode()
def test_deformable_attention_in_bf16_reads_where_the_library_reads() -> None:
    """Its places are not rounded to bf16: both are as far from float64."""
    torch.manual_seed(0)
    plain = build("oneformer").model.pixel_level_module.decoder.encoder.layers[0].self_attn
    sizes, channels = [(16, 32), (32, 64), (64, 128)], plain.d_model
    tokens = torch.randn(1, sum(height * width for height, width in sizes), channels)
    embedding = torch.zeros_like(tokens[0])

    def library(attention: nn.Module, x: torch.Tensor) -> torch.Tensor:
        places = (_grid_centres(sizes, x)[None, :, None].expand(-1, -1, len(sizes), -1) + 1) / 2
        options = {"spatial_shapes": torch.tensor(sizes), "spatial_shapes_list": sizes, "reference_points": places}
        found: torch.Tensor = attention(x, encoder_hidden_states=x, position_embeddings=embedding.to(x), **options)[0]
        return found

    def ours(attention: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return DeformableAttention(attention)(x, embedding.to(x), _grid_centres(sizes, x), sizes)[0]

    exact = library(copy.deepcopy(plain).double(), tokens.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours_off, theirs_off = ((run(plain, tokens) - exact).abs().mean() for run in (ours, library))
    assert theirs_off > 0
    assert ours_off < 1.3 * theirs_off


@pytest.mark.parametrize("size", [(70, 93), (128, 64)])
@pytest.mark.parametrize("by_rows", [True, False])
@torch.inference_mode()
def test_segformer_by_strips_and_whole(size: tuple[int, int], by_rows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd sizes: patches beyond the last whole one are left out, and branches are no integer multiples."""
    monkeypatch.setattr(optimize_segformer, "_BLOCK_STRIP", 1)
    monkeypatch.setattr(optimize_segformer, "_DECODER_STRIP", 1)
    model = network("segformer")
    prepared = copy.deepcopy(model)
    optimize_segformer.optimize_segformer(prepared.network, by_rows=by_rows)
    strips: list[int] = []
    prepared.network.decode_head.classifier.register_forward_hook(lambda *_: strips.append(1))
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected, output = model._run(images), prepared._run(images)
    assert len(strips) == (math.ceil(size[0] / 16) if by_rows else 1)
    torch.testing.assert_close(output[0], expected[0], rtol=1e-11, atol=1e-11)


@torch.inference_mode()
def test_linear_layers_by_onednn() -> None:
    """For few and many tokens, in the shape of the input; a layer of a class of its own stays."""
    layers = nn.ModuleList([nn.Linear(5, 7), nn.Linear(5, 7, bias=False), ClassifierConv(5, 7), Scaled(5, 7)]).double()
    weight = layers[0].weight
    prefer_onednn(layers)
    assert [type(layer) for layer in layers] == [TokenLinear, TokenLinear, ClassifierConv, Scaled]
    assert layers[0].weight is weight
    for shape in [(5,), (3, 5), (2, 6, 9, 5), (2, 50, 5)]:
        x = torch.randn(*shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        for layer in layers[:2]:
            torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    x = torch.randn(4, 100, 5)[:, ::2].transpose(0, 1)
    layer = layers[0].float()
    torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


class Scaled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


@torch.inference_mode()
def test_attention_mask_is_the_resized_mask_of_each_query() -> None:
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64)
    features = torch.randn(2, 8, 32, 48, generator=generator, dtype=torch.float64)
    masks = torch.einsum("bqc,bchw->bqhw", vectors, features)
    resized = nn.functional.interpolate(masks, size=(4, 6), mode="bilinear", align_corners=False)
    expected = (resized.sigmoid().flatten(2).unsqueeze(1).repeat(1, 3, 1, 1).flatten(0, 1) < 0.5).bool()
    assert 0.2 < expected.double().mean() < 0.8
    assert torch.equal(attention_mask(vectors, features, (4, 6), num_heads=3), expected)


def test_inference_uses_the_optimized_copy_and_leaves_the_network_trainable() -> None:
    model = network("segformer").float()
    predictor = code_predictor(model, torch.device("cpu"))
    assert isinstance(predictor, ProbabilityPredictor)
    assert type(predictor.model.network.decode_head).__name__ == "SegformerDecoder"  # type: ignore[attr-defined]
    assert type(model.network.decode_head).__name__ == "SegformerDecodeHead"
    assert all(parameter.requires_grad for parameter in model.network.decode_head.parameters())
