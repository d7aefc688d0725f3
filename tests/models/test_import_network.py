"""Import of a whole network: detected by keys and shapes, read strictly, with the same logits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from autolabel.classes import CLASS_SETS, ClassSet, parse_class_file
from autolabel.errors import ConfigError, WeightsError
from autolabel.models import weights_from_bytes
from autolabel.models.published import Choice, import_weights
from autolabel.models.published.detect import PUBLISHED, closest_network
from tests.models.checkpoints import BESIDE, SMALL, network, published, same_output, saved

NETWORKS = [
    ("hrnet_tiny", "ocr", "hierarchical"),
    ("hrnet_tiny", "ocr", "single"),
    ("hrnet_tiny", "conv", "single"),
    ("resnet_tiny", "deeplabv3plus", "explicit"),
    ("resnet_tiny", "deeplabv3plus", "single"),
    ("wide_resnet_tiny", "deeplabv3plus", "hierarchical"),
    ("wide_resnet_tiny", "deeper", "single"),
    ("xception_tiny", "deeplabv3plus", "hierarchical"),
    ("xception_tiny", "deeper", "single"),
]
FIVE = parse_class_file('names = ["a", "b", "c", "d", "e"]', "five.toml")


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, torch.Tensor]:
    return published(network(*NETWORKS[0]))


def same_tensors(a: bytes, b: bytes) -> bool:
    first, second = safetensors.torch.load(a), safetensors.torch.load(b)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
@pytest.mark.parametrize("parts", NETWORKS, ids="+".join)
def test_round_trip(parts: tuple[str, str, str]) -> None:
    model = network(*parts)
    imported = import_weights(saved({**BESIDE, "state_dict": published(model)}), "x.pth")
    ours, card = weights_from_bytes(imported.data, "x.safetensors")
    table = card.table
    assert (table.trunk, table.head, table.fusion) == parts
    assert card == imported.card
    assert card.class_names == CLASS_SETS["cityscapes"].names
    assert same_output(ours, model)
    assert imported.notes.used == len(model.state_dict())
    assert set(imported.notes.beside) == set(BESIDE)
    assert {key: value for key, value in card.extra["imported"].items() if key != "sha256"} == {
        "layout": " + ".join(parts),
        "left_out": [],
        "beside": list(BESIDE),
        "fresh": [],
    }


@pytest.mark.parametrize("name", sorted(PUBLISHED.values()))
def test_every_published_network_is_recognised(name: str, parity: Path) -> None:
    """Full size, from the lists of keys and shapes of the published code."""
    shapes = {k: tuple(s) for k, s in json.loads((parity / f"{name}_keys.json").read_text()).items()}
    found = closest_network(shapes, Choice())
    assert found is not None
    assert (found.name, found.num_classes) == (name, 19)
    assert (found.table.head_channels, found.table.key_channels, found.table.attention_channels) == (512, 256, 256)


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "model.", "module.model."])
@pytest.mark.parametrize("container", [None, "state_dict", "model", "model_dict"])
def test_wrapped_in_many_ways(checkpoint: dict[str, torch.Tensor], prefix: str, container: str | None) -> None:
    bare = {prefix + key.removeprefix("module."): value for key, value in checkpoint.items()}
    imported = import_weights(saved({container: bare} if container else bare), "x")
    assert same_tensors(imported.data, import_weights(saved(checkpoint), "x").data)
    assert imported.notes.beside == ()


@pytest.mark.slow
def test_the_same_bytes_give_the_same_file(checkpoint: dict[str, torch.Tensor]) -> None:
    data = saved({"state_dict": checkpoint})
    assert import_weights(data, "x").data == import_weights(data, "elsewhere").data
    five = []
    for seed in range(2):
        torch.manual_seed(seed)  # of no influence
        five.append(import_weights(data, "x", classes=FIVE).data)
    assert five[0] == five[1]


@pytest.mark.slow
def test_old_files_and_safetensors(checkpoint: dict[str, torch.Tensor]) -> None:
    """An older format of PyTorch; counters that its norms did not have; half precision; another library's file."""
    whole, _ = weights_from_bytes(import_weights(saved(checkpoint), "x").data, "x")
    old = {key: value for key, value in checkpoint.items() if not key.endswith("num_batches_tracked")}
    for data in (saved({"state_dict": old}, old=True), safetensors.torch.save(old, {"format": "pt"})):
        imported = import_weights(data, "x")
        assert imported.notes.counters == len(checkpoint) - len(old)
        assert same_output(weights_from_bytes(imported.data, "x")[0], whole)
    halves = {key: value.half() if value.is_floating_point() else value for key, value in checkpoint.items()}
    model, _ = weights_from_bytes(import_weights(saved(halves), "x").data, "x")
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32, torch.int64}
    assert torch.equal(model.head.classifier.weight, halves["module.ocr.cls_head.weight"].float())


@pytest.mark.slow
def test_tensors_that_share_their_memory(checkpoint: dict[str, torch.Tensor]) -> None:
    """Views of one flat buffer; and one tensor under two names."""
    flat = torch.cat([value.flatten() for value in checkpoint.values() if value.is_floating_point()])
    sizes = [value.numel() if value.is_floating_point() else 0 for value in checkpoint.values()]
    views = [
        part.view(v.shape) if len(part) else v for part, v in zip(flat.split(sizes), checkpoint.values(), strict=1)
    ]
    imported = import_weights(saved(dict(zip(checkpoint, views, strict=True))), "x")
    assert same_tensors(imported.data, import_weights(saved(checkpoint), "x").data)
    tied = checkpoint | {"module.backbone.bn1.weight": checkpoint["module.backbone.bn1.bias"]}
    model, _ = weights_from_bytes(import_weights(saved(tied), "x").data, "x")
    assert torch.equal(model.trunk.stem[0].norm.weight, checkpoint["module.backbone.bn1.bias"])


@pytest.mark.slow
@pytest.mark.parametrize("core", ["core", "_core"])
def test_mean_iou_as_numpy_saved_it(checkpoint: dict[str, torch.Tensor], core: str) -> None:
    """Published checkpoints hold numpy's mean IoU, under the name numpy's module had or has."""
    data = saved({"state_dict": checkpoint, "mean_iu": np.float64(0.85), "iou": np.ones(3)}, old=True)
    renamed = data.replace(b"numpy._core.multiarray\n", f"numpy.{core}.multiarray\n".encode())
    assert (renamed == data) is (core == "_core")
    assert import_weights(renamed, "x").notes.beside == ("mean_iu", "iou")


@pytest.mark.slow
def test_twenty_foreign_keys_are_refused_by_name(checkpoint: dict[str, torch.Tensor]) -> None:
    foreign = {f"module.extra{i}.weight": torch.zeros(2) for i in range(20)}
    with pytest.raises(WeightsError) as error:
        import_weights(saved({"state_dict": checkpoint | foreign}), "f.pth")
    said = str(error.value)
    assert said.startswith("f.pth: entries unexpected (20): ")
    assert all(f"extra{i}.weight" in said for i in range(20))
    assert said.endswith("; the closest network is hrnet_tiny + ocr + hierarchical with 19 classes")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"module.ocr.cls_head.bias": None, "module.new": torch.zeros(1)},
            "missing (1): ocr.cls_head.bias; unexpected",
        ),
        ({"module.scale_attn.conv0.weight": None}, "missing (1): scale_attn.conv0.weight; the closest"),
        ({"module.backbone.conv1.weight": torch.zeros(16, 3, 7, 7)}, "backbone.conv1.weight [16, 3, 7, 7], expected"),
        ({"module.backbone.conv1.weight": torch.full((16, 3, 3, 3), float("nan"))}, "not finite (1): backbone.conv1"),
        ({"module.backbone.bn1.weight": torch.zeros(16).to_sparse()}, "of the wrong type (1): backbone.bn1.weight"),
        ({"module.backbone.bn1.weight": torch.zeros(16, device="meta")}, "of the wrong type (1): backbone.bn1.weight"),
        ({"module.backbone.bn1.weight": [1.0] * 16}, "of the wrong type (1): backbone.bn1.weight"),
        ({"backbone.conv1.weight": torch.zeros(1)}, "has entries twice, with and without prefix (1): backbone.conv1"),
        ({"module.ocr.cls_head.weight": torch.zeros(10**6, 24)[:, :0]}, "mis-shaped"),
    ],
)
def test_what_does_not_fit_is_named(checkpoint: dict[str, torch.Tensor], change: dict[str, object], says: str) -> None:
    held = {key: value for key, value in (checkpoint | change).items() if value is not None}
    with pytest.raises(WeightsError) as error:
        import_weights(saved(held), "x")
    assert says in str(error.value)


def test_what_is_no_network_of_ours() -> None:
    with pytest.raises(WeightsError, match=r"resembles no known network: its 2 entries are encoder.layer.0, pooler"):
        import_weights(saved({"encoder.layer.0": torch.zeros(2), "pooler": torch.zeros(2)}), "x")
    for held, says in (
        ([torch.zeros(1)], "holds a list, not a state dict"),
        ({}, "no weights"),
        ({"model": {}}, "no wei"),
    ):
        with pytest.raises(WeightsError, match=says):
            import_weights(saved(held), "x")


@pytest.mark.slow
def test_classes_of_another_number_draw_the_classifiers_anew(checkpoint: dict[str, torch.Tensor]) -> None:
    imported = import_weights(saved(checkpoint), "x", classes=FIVE)
    assert imported.notes.fresh == ("head.classifier (ocr.cls_head)", "head.aux_classifier (ocr.aux_head.2)")
    assert imported.card.class_names == FIVE.names
    model, _ = weights_from_bytes(imported.data, "x")
    before, _ = weights_from_bytes(import_weights(saved(checkpoint), "x").data, "x")
    old, new = before.state_dict(), model.state_dict()
    changed = {key for key in new if not torch.equal(new[key], old[key])}
    assert changed == {
        f"head.{name}.{part}" for name in ("classifier", "aux_classifier") for part in ("weight", "bias")
    }
    assert torch.equal(new["attention.last.weight"], old["attention.last.weight"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "layer"), [(NETWORKS[3], "final.6"), (NETWORKS[6], "conv_up5"), (NETWORKS[2], "seg_head.6")]
)
def test_the_layer_drawn_anew_in_other_heads(parts: tuple[str, str, str], layer: str) -> None:
    (fresh,) = import_weights(saved(published(network(*parts))), "x", classes=FIVE).notes.fresh
    assert fresh.endswith(f"({layer})")


@pytest.mark.slow
def test_names_of_classes() -> None:
    data = saved(published(network(*NETWORKS[2], classes=5)))
    with pytest.raises(ConfigError, match="x: holds 5 classes and not their names; give them with --classes"):
        import_weights(data, "x")
    card = import_weights(data, "x", classes=FIVE).card
    assert card.class_names == FIVE.names
    other = ClassSet("mine", tuple(map(str, range(19))), FIVE.palette[:1] * 19, tuple(range(19)), (255,))
    imported = import_weights(saved(published(network(*NETWORKS[2]))), "x", classes=other)
    assert (imported.card.class_names, imported.notes.fresh) == (other.names, ())


@pytest.mark.slow
def test_a_choice_is_taken_and_checked(checkpoint: dict[str, torch.Tensor]) -> None:
    data = saved(published(network(*NETWORKS[4])))
    card = import_weights(data, "x", choice=Choice(trunk="resnet_tiny_os16", fusion="average")).card
    assert (card.table.trunk, card.table.fusion) == ("resnet_tiny_os16", "average")
    with pytest.raises(ConfigError, match="unknown trunk 'resnet_tinny'; did you mean 'resnet_tiny'"):
        import_weights(data, "x", choice=Choice(trunk="resnet_tinny"))
    with pytest.raises(ConfigError, match="the head 'deeperlab' has no known published layout"):
        import_weights(data, "x", choice=Choice(head="deeperlab"))
    with pytest.raises(WeightsError, match=r"missing .*unexpected"):
        import_weights(saved(checkpoint), "x", choice=Choice(head="conv"))


@pytest.mark.slow
def test_our_own_file_needs_no_import(checkpoint: dict[str, torch.Tensor]) -> None:
    ours = import_weights(saved(checkpoint), "x").data
    with pytest.raises(WeightsError, match="is already an autolabel weights file; use it as it is"):
        import_weights(ours, "x")
    assert SMALL["head_channels"] == weights_from_bytes(ours, "x")[1].table.head_channels
