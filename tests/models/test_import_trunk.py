"""Import of trunks trained on ImageNet: their published names, and a training that starts from them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import safetensors.torch
import torch

from autolabel.classes import CLASS_SETS
from autolabel.config.networks import ModelConfig
from autolabel.errors import ConfigError, WeightsError
from autolabel.models import TrunkCard, build_model, start_from, weights_from_bytes
from autolabel.models.published import Choice, import_weights
from autolabel.models.published.detect import closest_trunk
from tests.models.checkpoints import SMALL, network, saved, trunk_entries

NAMES = ("road", "car", "sky")
Tensors = dict[str, torch.Tensor]
# Entries of the image classifier: HRNet's as its authors and timm name them, WiderResNet's as its loader needs.
CLASSIFIERS = {
    "hrnet_tiny": (
        "incre_modules.0.0.conv1.weight",
        "downsamp_modules.0.0.bias",
        "final_layer.0.weight",
        "classifier.bias",
    ),
    "resnet_tiny": ("fc.weight", "fc.bias"),
    "wide_resnet_tiny": ("bn_out.0.weight", "classifier.fc.weight"),
    "xception_tiny": ("fc.weight", "fc.bias"),
    "efficientnet_tiny_os8": ("_conv_head.weight", "_bn1.running_var", "_fc.bias"),
}


def with_classifier(trunk: str) -> tuple[Tensors, Tensors]:
    """A trunk's weights under our keys, and its file's entries."""
    head = "conv" if trunk.startswith("hrnet") else "deeplabv3plus"
    model = network(trunk, head, "single")
    entries = trunk_entries(model) | {key: torch.zeros(7) for key in CLASSIFIERS[trunk]}
    return {f"trunk.{key}": value for key, value in model.trunk.state_dict().items()}, entries


def as_torchvision(entries: Tensors) -> Tensors:
    """torchvision and timm have a stem of plain `conv1`, `bn1`."""
    stem = {"layer0.0.": "conv1.", "layer0.1.": "bn1."}
    return {
        next((new + key.removeprefix(old) for old, new in stem.items() if key.startswith(old)), key): value
        for key, value in entries.items()
    }


def same(data: bytes, expected: Tensors) -> bool:
    found = safetensors.torch.load(data)
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.slow
@pytest.mark.parametrize("trunk", CLASSIFIERS)
@pytest.mark.parametrize(
    ("container", "prefix"), [(None, ""), ("state_dict", "module."), ("model_dict", "module.backbone.")]
)
def test_every_trunk(trunk: str, container: str | None, prefix: str) -> None:
    ours, entries = with_classifier(trunk)
    entries = {prefix + key: value for key, value in entries.items()}
    imported = import_weights(saved({container: entries, "epoch": 90} if container else entries), "x.pth")
    assert imported.card.trunk == trunk
    assert same(imported.data, ours)
    assert imported.notes.left_out == CLASSIFIERS[trunk]
    assert imported.notes.used == len(ours)
    assert imported.card.extra["imported"]["left_out"] == list(CLASSIFIERS[trunk])


def test_resnet_as_torchvision_and_timm_name_it() -> None:
    ours, entries = with_classifier("resnet_tiny")
    assert same(import_weights(saved(as_torchvision(entries)), "x").data, ours)
    older = {key: value for key, value in as_torchvision(entries).items() if "num_batches" not in key}
    imported = import_weights(saved(older, old=True), "x")
    assert imported.notes.counters == sum("num_batches" in key for key in ours)


def test_a_flat_hrnet_with_a_last_layer() -> None:
    """A segmentation network of HRNet's authors: `model.` before every key, two convolutions as `last_layer`."""
    ours, entries = with_classifier("hrnet_tiny")
    last = {f"last_layer.{i}.{part}": torch.zeros(3) for i in (0, 1, 3) for part in ("weight", "bias")}
    kept = {key: value for key, value in entries.items() if key not in CLASSIFIERS["hrnet_tiny"]}
    imported = import_weights(saved({f"model.{key}": value for key, value in (kept | last).items()}), "x")
    assert same(imported.data, ours)
    assert imported.notes.left_out == tuple(last)


def resnet_shapes(blocks: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """torchvision's ResNets of bottlenecks, written down from the paper (arXiv 1512.03385, table 1)."""

    def conv_bn(conv: str, bn: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{conv}.weight", shape
        yield from ((f"{bn}.{part}", shape[:1]) for part in ("weight", "bias", "running_mean", "running_var"))
        yield f"{bn}.num_batches_tracked", ()

    yield from conv_bn("conv1", "bn1", 64, 3, 7, 7)
    inputs = 64
    for stage, count in enumerate(blocks):
        inner = 64 * 2**stage
        for i in range(count):
            at = f"layer{stage + 1}.{i}"
            yield from conv_bn(f"{at}.conv1", f"{at}.bn1", inner, inputs, 1, 1)
            yield from conv_bn(f"{at}.conv2", f"{at}.bn2", inner, inner, 3, 3)
            yield from conv_bn(f"{at}.conv3", f"{at}.bn3", 4 * inner, inner, 1, 1)
            if i == 0:
                yield from conv_bn(f"{at}.downsample.0", f"{at}.downsample.1", 4 * inner, inputs, 1, 1)
            inputs = 4 * inner
    yield "fc.weight", (1000, 2048)
    yield "fc.bias", (1000,)


@pytest.mark.parametrize(("blocks", "name"), [((3, 4, 6, 3), "resnet50"), ((3, 4, 23, 3), "resnet101")])
def test_resnets_at_full_size(blocks: tuple[int, ...], name: str) -> None:
    """Recognised, and every entry used but for the classifier."""
    shapes = dict(resnet_shapes(blocks))
    layout = closest_trunk(shapes, Choice())
    assert layout.trunk == name
    assert layout.shapes == {key: shape for key, shape in shapes.items() if not key.startswith("fc.")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "fusion"), [("deeplabv3plus", "hierarchical"), ("ocr", "single"), ("deeper", "explicit")]
)
@pytest.mark.parametrize("trunk", ["resnet_tiny", "resnet_tiny_os16"])
def test_any_head_starts_from_it(head: str, fusion: str, trunk: str) -> None:
    ours, entries = with_classifier("resnet_tiny")
    data = import_weights(saved(as_torchvision(entries)), "x").data
    table = ModelConfig(**SMALL, trunk=trunk, head=head, fusion=fusion)
    torch.manual_seed(5)
    model, card = start_from(data, "r.safetensors", table, NAMES)
    torch.manual_seed(5)
    fresh = build_model(table, len(NAMES)).state_dict()
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in ours.items())
    assert all(torch.equal(value, fresh[key]) for key, value in state.items() if key not in ours)
    assert (card.table, card.class_names) == (table, NAMES)


@pytest.mark.slow
def test_what_a_trunk_alone_cannot_do() -> None:
    _, entries = with_classifier("resnet_tiny")
    data = import_weights(saved(entries), "x").data
    with pytest.raises(WeightsError, match=r"w: holds only a trunk \(resnet_tiny\), which labels nothing; name it as"):
        weights_from_bytes(data, "w")
    with pytest.raises(WeightsError, match="w: holds trunk 'resnet_tiny'; the experiment needs 'hrnet_tiny'"):
        start_from(data, "w", ModelConfig(**SMALL, trunk="hrnet_tiny"), NAMES)
    with pytest.raises(ConfigError, match="--classes: x holds a trunk alone, which has none; leave --classes out"):
        import_weights(saved(entries), "x", classes=CLASS_SETS["camvid"])
    with pytest.raises(ConfigError, match="--fusion: x holds a trunk alone"):
        import_weights(saved(entries), "x", choice=Choice(fusion="single"))
    with pytest.raises(ConfigError, match="--head: x holds a trunk alone"):
        import_weights(saved(entries), "x", choice=Choice(head="deeplabv3plus"))


def test_a_damaged_trunk_file() -> None:
    _, entries = with_classifier("resnet_tiny")
    data = import_weights(saved(entries), "x").data
    tensors = safetensors.torch.load(data)
    card = TrunkCard(trunk="resnet_tiny").to_text()
    table = ModelConfig(**SMALL, trunk="resnet_tiny", head="conv", fusion="single")
    missing = safetensors.torch.save(dict(list(tensors.items())[1:]), {"autolabel": card})
    with pytest.raises(WeightsError, match=r"w: entries missing \(1\): trunk\."):
        start_from(missing, "w", table, NAMES)
    unknown = safetensors.torch.save(tensors, {"autolabel": '{"trunk": "resnet_tiny", "more": 1}'})
    with pytest.raises(WeightsError, match="w: card: more"):
        start_from(unknown, "w", table, NAMES)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"conv1.weight": None, "conv1.0.weight": torch.zeros(4)}, "resnet_tiny: its stem is three 3x3 convolutions"),
        ({"conv1.weight": torch.zeros(8, 3, 3, 3)}, "mis-shaped (1): conv1.weight [8, 3, 3, 3], expected [8, 3, 7, 7]"),
        (
            {"layer1.0.se.fc1.weight": torch.zeros(4)},
            "unexpected (1): layer1.0.se.fc1.weight; the closest trunk is res",
        ),
        ({"backbone.conv1.weight": torch.zeros(4)}, "has entries twice, with and without prefix (1): conv1.weight"),
    ],
)
def test_relatives_are_refused_with_the_reason(change: dict[str, object], says: str) -> None:
    entries: dict[str, object] = {**as_torchvision(with_classifier("resnet_tiny")[1]), **change}
    with pytest.raises(WeightsError) as error:
        import_weights(saved({key: value for key, value in entries.items() if value is not None}), "x")
    assert says in str(error.value)


def test_foreign_keys_are_refused() -> None:
    _, entries = with_classifier("hrnet_tiny")
    foreign = {f"neck.{i}.weight": torch.zeros(1) for i in range(21)}
    with pytest.raises(
        WeightsError, match=r"unexpected \(21\): neck\.0\.weight, .*neck\.19\.weight and 1 more; the cl"
    ):
        import_weights(saved(entries | foreign), "x")


def test_in_place_norms_are_distinguished() -> None:
    _, entries = with_classifier("wide_resnet_tiny")
    plain = {key.replace("bn1.0.", "bn1.").replace("bn2.0.", "bn2."): value for key, value in entries.items()}
    with pytest.raises(
        WeightsError, match="closest trunk is wide_resnet_tiny: its norms have an activation of their own"
    ):
        import_weights(saved(plain), "x")
