"""The other published networks against NVIDIA/semantic-segmentation, by the tolerances of PARITY.md.

Each is built once; where two published networks share trunk, head and weights, one pass serves both files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from autolabel.inference import multiscale_logits
from autolabel.models import SegmentationModel, build_model, load_published, published_keys
from autolabel.models.fusion import FUSIONS, ScaledOutput

pytestmark = pytest.mark.slow

NETWORKS = {
    "basic.HRNet": ("hrnet_w48", "conv", "single"),
    "deeper.DeeperW38": ("wide_resnet38", "deeper", "single"),
    "deeper.DeeperX71": ("xception71", "deeper", "single"),
    "deepv3.DeepV3PlusR50": ("resnet50", "deeplabv3plus", "single"),
    "deepv3.DeepV3PlusW38": ("wide_resnet38", "deeplabv3plus", "single"),
    "mscale.DeepV3W38": ("wide_resnet38", "deeplabv3plus", "hierarchical"),
    "deepv3.DeepV3PlusX71": ("xception71", "deeplabv3plus", "single"),
    "mscale.DeepV3X71": ("xception71", "deeplabv3plus", "hierarchical"),
    "mscale.DeepV3R50": ("resnet50", "deeplabv3plus", "hierarchical"),
    "attnscale.DeepV3R50": ("resnet50", "deeplabv3plus", "explicit"),
}

Compare = Callable[[dict[str, torch.Tensor], str], None]


def build(name: str) -> SegmentationModel:
    return build_model(dict(zip(("trunk", "head", "fusion"), NETWORKS[name], strict=True)), 19).eval()


@pytest.fixture(scope="module")
def load(parity: Path, rule: ModuleType) -> Callable[[str], SegmentationModel]:
    def of(name: str) -> SegmentationModel:
        model = build(name)
        keys = json.loads((parity / f"{name}_keys.json").read_text())
        load_published(model, {key: torch.from_numpy(np.asarray(rule.value(key, s))) for key, s in keys.items()})
        return model

    return of


@pytest.fixture(scope="module")
def image(parity: Path, rule: ModuleType) -> Callable[[str], torch.Tensor]:
    def of(name: str) -> torch.Tensor:
        with np.load(parity / f"{name}.npz") as arrays:
            return torch.from_numpy(rule.image(int(arrays["image_seed"]), arrays["image_shape"]))

    return of


@pytest.fixture(scope="module")
def compare(parity: Path, rule: ModuleType) -> Compare:
    """Every array at the stored points, and its sum of absolutes."""

    def of(got: dict[str, torch.Tensor], name: str) -> None:
        path = parity / f"{name}.npz"
        result = rule.compare({key: value.numpy() for key, value in got.items()}, path)
        assert set(result) == set(got)
        with np.load(path) as arrays:
            for key, (_, by_std, _) in result.items():
                assert by_std <= 2e-4, (name, key, result[key])
                total = got[key].double().abs().sum().item()
                assert total == pytest.approx(arrays[f"stats/{key}"][2], rel=2e-5), (name, key)

    return of


@torch.no_grad()
def at_three_scales(model: SegmentationModel, images: torch.Tensor) -> dict[float, ScaledOutput]:
    return {m.scale: m for m in model.scale_maps(images, (0.5, 1.0, 2.0))}


def three_scales(maps: dict[float, ScaledOutput]) -> dict[str, torch.Tensor]:
    """Scales 0.5, 1, 2 and their fusion, and the pair, from one run."""
    fuse, low, one = FUSIONS["hierarchical"].fuse, maps[0.5], maps[1.0]
    got = {f"n3_pred_{s}x": m.logits for s, m in maps.items()}
    got |= {f"n3_attn_{s}x": m.attention for s, m in maps.items() if m.attention is not None}
    got |= {"n3_fused": fuse(list(maps.values())), "single_cls": one.logits, "single_attn": one.attention}
    got |= {"two_pred_05x": low.logits, "two_pred_10x": one.logits}
    return got | {"two_attn_05x": low.attention, "two_fused": fuse([low, one])}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_keys_and_shapes_are_the_published_ones_in_their_order(name: str, parity: Path) -> None:
    keys = json.loads((parity / f"{name}_keys.json").read_text())
    with torch.device("meta"):
        assert list(published_keys(build(name)).items()) == [(key, tuple(shape)) for key, shape in keys.items()]


@pytest.mark.parametrize(
    ("name", "files", "alone"),
    [
        ("mscale.DeepV3R50", ("mscale.DeepV3R50", "mscale.DeepV3R50.odd"), "deepv3.DeepV3PlusR50"),
        ("mscale.DeepV3W38", ("mscale.DeepV3W38",), "deepv3.DeepV3PlusW38"),
        ("mscale.DeepV3X71", ("mscale.DeepV3X71",), "deepv3.DeepV3PlusX71"),
    ],
)
def test_hierarchical(
    load: Callable[[str], SegmentationModel],
    image: Callable[[str], torch.Tensor],
    compare: Compare,
    name: str,
    files: tuple[str, ...],
    alone: str,
) -> None:
    """The published single-scale network has the same weights, so its output is that of scale 1."""
    model = load(name)
    for file in files:
        maps = at_three_scales(model, image(file))
        compare(three_scales(maps), file)
        if file == name:
            compare({"single_cls": maps[1.0].logits}, alone)


@pytest.mark.parametrize("name", ["basic.HRNet", "deeper.DeeperW38", "deeper.DeeperX71"])
def test_one_scale(
    load: Callable[[str], SegmentationModel], image: Callable[[str], torch.Tensor], compare: Compare, name: str
) -> None:
    compare({"single_cls": multiscale_logits(load(name), image(name), [1.0])}, name)


def test_explicit(
    load: Callable[[str], SegmentationModel], image: Callable[[str], torch.Tensor], compare: Compare
) -> None:
    name = "attnscale.DeepV3R50"
    model, images, raw = load(name), image(name), []
    model.attention.register_forward_hook(lambda module, inputs, output: raw.append(output))
    maps = at_three_scales(model, images)
    got = {f"expl_pred_{s}x": m.logits for s, m in maps.items()}
    fused = model.fusion.fuse(list(maps.values()))
    got |= {"expl_attn": raw[0], "expl_fused": fused, "single_cls": maps[1.0].logits}
    compare(got, name)
    assert torch.equal(multiscale_logits(model, images, [1.0]), maps[1.0].logits)
