"""Whole networks and their training gradients against NVIDIA/semantic-segmentation, by the tolerances of PARITY.md."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from autolabel.inference import multiscale_logits
from autolabel.inference.decision import encode
from autolabel.inference.fused_decision import encode_fused
from autolabel.inference.multiscale import forward_views
from autolabel.inference.optimize import prepare
from autolabel.labels.codebook import Codebook
from autolabel.losses import training_loss
from autolabel.models import SegmentationModel, TrainOutput, build_model, load_published, published_keys
from autolabel.models.fusion import FUSIONS, ScaledOutput
from autolabel.models.resize import resize

pytestmark = pytest.mark.slow

ARCH = "ocrnet.HRNet_Mscale"
SCALES = (0.25, 0.5, 1.0, 2.0)
fuse = FUSIONS["hierarchical"].fuse


@pytest.fixture(scope="module")
def expected(parity: Path) -> Path:
    return parity / f"{ARCH}.npz"


@pytest.fixture(scope="module")
def image(expected: Path, rule: ModuleType) -> torch.Tensor:
    with np.load(expected) as arrays:
        return torch.from_numpy(rule.image(int(arrays["image_seed"]), arrays["image_shape"]))


@pytest.fixture(scope="module")
def maps(published_network: SegmentationModel, image: torch.Tensor) -> list[ScaledOutput]:
    with torch.no_grad():
        return published_network.scale_maps(image, SCALES)


@pytest.fixture(scope="module")
def trained(published_network: SegmentationModel, image: torch.Tensor) -> TrainOutput:
    """The pair (0.5, 1.0) with norms and dropout in eval mode, its graph kept."""
    return published_network(image)


def assert_close(rule: ModuleType, got: dict[str, torch.Tensor], expected: Path) -> None:
    result = rule.compare({name: value.detach().numpy() for name, value in got.items()}, expected)
    assert set(result) == set(got)
    with np.load(expected) as arrays:
        sums = {name: arrays[f"stats/{name}"][2] for name in got}
    for name, (_, by_std, _) in result.items():
        assert by_std <= 2e-4, (name, result[name])
        assert got[name].detach().double().abs().sum().item() == pytest.approx(sums[name], rel=2e-5), name


def test_keys_and_shapes_are_the_published_ones_in_their_order(
    published_network: SegmentationModel, parity: Path
) -> None:
    keys = json.loads((parity / f"{ARCH}_keys.json").read_text())
    assert list(published_keys(published_network).items()) == [(key, tuple(shape)) for key, shape in keys.items()]


def test_every_scale_and_the_fusion_of_four(rule: ModuleType, maps: list[ScaledOutput], expected: Path) -> None:
    got = {f"n4_pred_{m.scale}x": m.logits for m in maps}
    got |= {f"n4_attn_{m.scale}x": m.attention for m in maps if m.attention is not None}
    assert len(got) == 7
    assert_close(rule, got | {"n4_fused": fuse(maps)}, expected)


@pytest.mark.parametrize(("name", "scales"), [("n3_fused", (0.5, 1.0, 2.0)), ("two_fused", (0.5, 1.0))])
def test_fusion_of_fewer_scales(
    rule: ModuleType, maps: list[ScaledOutput], expected: Path, name: str, scales: tuple[float, ...]
) -> None:
    assert_close(rule, {name: fuse([m for m in maps if m.scale in scales])}, expected)


def test_single_scale(
    rule: ModuleType, published_network: SegmentationModel, image: torch.Tensor, expected: Path
) -> None:
    with torch.no_grad():
        out = published_network.forward_scale(image)
    assert out.attention is not None
    assert out.aux is not None
    size = image.shape[-2], image.shape[-1]
    got = {"single_cls": out.logits, "single_aux": out.aux, "single_attn": out.attention}
    assert_close(rule, {name: resize(value, size) for name, value in got.items()}, expected)
    assert torch.equal(multiscale_logits(published_network, image, [1.0]), resize(out.logits, size))


def test_prepared_for_inference(
    rule: ModuleType, published_network: SegmentationModel, image: torch.Tensor, expected: Path
) -> None:
    """Folded and rewritten, it gives the published maps; decided by strips, the codes of the published logits."""
    prepared = prepare(published_network)
    views = forward_views(prepared, image, (0.5, 1.0, 2.0))
    maps = [raw.resized() for raw in views[0]]
    got = {f"n3_pred_{m.scale}x": m.logits for m in maps}
    got |= {f"n3_attn_{m.scale}x": m.attention for m in maps if m.attention is not None}
    assert len(got) == 5
    assert_close(rule, got | {"n3_fused": fuse(maps)}, expected)
    book = Codebook(19)
    with np.load(expected) as arrays:
        stored = torch.from_numpy(arrays["n3_fused"])
    codes = encode_fused(prepared.fusion, views, book)[:, ::8, ::8]
    assert (codes == encode(stored.view(1, 19, *codes.shape[1:]), book)).double().mean() > 0.995


def test_the_training_pair_is_the_fusion_of_two(rule: ModuleType, trained: TrainOutput, expected: Path) -> None:
    assert set(trained.per_scale) == {0.5, 1.0}
    assert_close(rule, {"two_fused": trained.fused, "two_pred_10x": trained.per_scale[1.0]}, expected)


@pytest.mark.parametrize(
    ("tag", "options"),
    [("rmi_sup", {}), ("rmi_nosup", {"scale_weight": 0.0}), ("ce_sup", {"loss": "ce"})],
)
def test_training_loss_and_every_gradient(
    published_network: SegmentationModel, trained: TrainOutput, parity: Path, tag: str, options: dict[str, object]
) -> None:
    with np.load(parity / f"train_{ARCH}.npz") as file:
        arrays = dict(file)
    published_network.zero_grad()
    loss = training_loss(trained, torch.from_numpy(arrays["labels"]), **options)
    loss.backward(retain_graph=True)
    assert loss.item() == pytest.approx(float(arrays[f"loss64_{tag}"]), rel=1e-5)
    values = published_network.state_dict(keep_vars=True).values()
    parameters = dict(zip(published_keys(published_network), values, strict=True))
    norms = [parameters[str(name)].grad.double().norm().item() for name in arrays["param_names"]]
    np.testing.assert_allclose(norms, arrays[f"gradnorm_{tag}"], rtol=5e-4)
    full = {name.removeprefix(f"grad_{tag}/"): a for name, a in arrays.items() if name.startswith(f"grad_{tag}/")}
    assert len(full) == 5
    for key, gradient in full.items():
        np.testing.assert_allclose(parameters[key].grad, gradient, rtol=0, atol=1e-3 * np.abs(gradient).max())


def test_the_network_without_attention(
    rule: ModuleType, published_weights: dict[str, torch.Tensor], image: torch.Tensor, parity: Path
) -> None:
    """`ocrnet.HRNet`: the same trunk and head, trained and published at a single scale."""
    model = build_model({"trunk": "hrnet_w48", "fusion": "single"}, 19).eval()
    keys = json.loads((parity / "ocrnet.HRNet_keys.json").read_text())
    assert {key: list(shape) for key, shape in published_keys(model).items()} == keys
    load_published(model, {key: value for key, value in published_weights.items() if "scale_attn" not in key})
    with torch.no_grad():
        out = model(image)
    assert out.per_scale == {}
    assert_close(rule, {"single_cls": out.fused, "single_aux": out.fused_aux}, parity / "ocrnet.HRNet.npz")
