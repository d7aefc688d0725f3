"""Untrusted configs and weights: one clear error, and nothing is run, fetched or allocated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from autolabel.errors import AutolabelError, ConfigError, WeightsError
from autolabel.models import network_from_bytes, network_to_bytes, weights_from_bytes
from autolabel.models.huggingface import FolderFiles, model_as_it_is, model_to_train
from autolabel.models.weights_file import pack
from tests.helpers.hf_folders import NAMES, save

Config = dict[str, Any]


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("segformer"), "segformer")


@pytest.fixture(scope="module")
def mask2former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("mask2former"), "mask2former")


def files(
    folder: Path, change: Callable[[Config], object] = lambda config: None, weights: bytes | None = None
) -> FolderFiles:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    data = (folder / "model.safetensors").read_bytes() if weights is None else weights
    return FolderFiles("folder", json.dumps(config).encode(), None, [lambda: data])


def refused(contents: FolderFiles, kind: type[AutolabelError] = WeightsError) -> str:
    with pytest.raises(kind) as caught:
        model_as_it_is(contents, NAMES, {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "detr"}, "holds a 'detr' network; known are beit, eomt, eomt_dinov3, mask2former, oneformer,"),
        ({"model_type": None}, "holds a None network"),
        ({"model_type": ["segformer"]}, "holds a ['segformer'] network"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "holds quantised weights"),
        ({"hidden_sizes": [10**9, 8, 16, 16]}, "hidden_sizes = 1000000000 is too large for a setting"),
        ({"depths": [10**4, 1, 1, 1]}, "has more layers than the file"),
        ({"hidden_sizes": [8, 8, 16, 8192]}, "the file holds 23,"),
        ({"hidden_sizes": [8, 8, 16, 32]}, "entries mis-shaped"),
        ({"depths": [1, 1, 1, 2]}, "entries missing"),
        ({"depths": "deep"}, "is no working SegFormer network"),
        ({"hidden_act": "os.system"}, "is no working SegFormer network"),
        ({"num_attention_heads": [3, 1, 2, 2]}, "attention.k_proj.bias [8], expected [6]"),
        ({"id2label": {"0": "road", "2": "car"}}, "id2label does not name classes 0, 1, 2, ..."),
        ({"id2label": {"0": 7}}, "id2label does not name"),
        ({"id2label": {}}, "id2label does not name"),
        ({"id2label": "road"}, "id2label does not name"),
        ({"id2label": {"0": "road", "1": "car"}}, "entries mis-shaped"),
    ],
)
def test_configs(segformer: Path, change: Config, says: str) -> None:
    assert says in refused(files(segformer, lambda config: config.update(change)))


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"[" * 100_000, b'{"model_type": NaN}', b"\xff\xfe"])
def test_configs_that_are_no_objects(text: bytes) -> None:
    assert "is not a JSON object" in refused(FolderFiles("folder", text, None, []))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "says"),
    [
        (None, "does not describe its backbone"),
        ("swin", "has a None backbone"),
        ({"model_type": "timm_backbone", "backbone": "resnet50"}, "has a 'timm_backbone' backbone; known are beit,"),
    ],
)
def test_backbones(mask2former: Path, backbone: object, says: str) -> None:
    change = {"backbone_config": backbone, "backbone": "a/b", "use_pretrained_backbone": True}
    assert says in refused(files(mask2former, lambda config: config.update(change)))


@pytest.mark.slow
def test_code_and_hub_names_in_a_config_are_never_followed(mask2former: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr("socket.socket.connect", connect)
    extra = {
        "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "a/b--evil.Model"},
        "attn_implementation": "kernels-community/evil",
        "_attn_implementation_internal": "kernels-community/evil",
        "backbone": "a/b",
        "use_pretrained_backbone": True,
        "is_training": True,
        "transformers_weights": "../x.safetensors",
        "dtype": "float16",
    }
    _, card, _ = model_as_it_is(files(mask2former, lambda config: config.update(extra)), NAMES, {})
    assert not extra.keys() & card.huggingface.keys()


def changed(folder: Path, **tensors: torch.Tensor | None) -> bytes:
    state = safetensors.torch.load((folder / "model.safetensors").read_bytes())
    for key, value in tensors.items():
        name = next(k for k in state if k.endswith(key.replace("__", ".")))
        if value is None:
            del state[name]
        else:
            state[name] = value
    return safetensors.torch.save(state)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"classifier__bias": None}, "entries missing (1): decode_head.classifier.bias"),
        ({"classifier__bias": torch.zeros(9)}, "entries mis-shaped (1): decode_head.classifier.bias [9], expected [5]"),
        ({"classifier__bias": torch.full((5,), torch.nan)}, "entries not finite (1)"),
        ({"running_var": torch.full((16,), -1.0)}, "entries negative (1)"),
        ({"classifier__bias": torch.zeros(5, dtype=torch.int8)}, "entries of the wrong type (1)"),
    ],
)
def test_weights(segformer: Path, tensors: dict[str, torch.Tensor | None], says: str) -> None:
    assert says in refused(files(segformer, weights=changed(segformer, **tensors)))


@pytest.mark.slow
def test_weights_cut_short_and_weights_of_more(segformer: Path) -> None:
    data = (segformer / "model.safetensors").read_bytes()
    assert "not a valid safetensors file" in refused(files(segformer, weights=data[:-7]))
    state = safetensors.torch.load(data) | {"position_ids": torch.arange(3)}
    model, card, _ = model_as_it_is(files(segformer, weights=safetensors.torch.save(state)), NAMES, {})
    assert b"position_ids" not in network_to_bytes(model, card)


@pytest.mark.slow
def test_half_precision_weights_become_float32(segformer: Path) -> None:
    state = safetensors.torch.load((segformer / "model.safetensors").read_bytes())
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    model, _, _ = model_as_it_is(files(segformer, weights=safetensors.torch.save(halves)), NAMES, {})
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.slow
def test_a_softmax_over_one_class_says_nothing(tmp_path: Path) -> None:
    folder = save(tmp_path, "segformer", ("road",))
    assert "has a single class" in refused(files(folder))
    model_as_it_is(files(save(tmp_path / "m", "mask2former", ("road",))), NAMES, {})


@pytest.mark.slow
def test_image_statistics_that_are_none(segformer: Path) -> None:
    contents = files(segformer)
    for text, says in (
        (b'{"image_mean": [0.5]}', "not a usable number"),
        (b'{"image_std": [0, 1, 1]}', "not a usable number"),
        (b'{"image_std": "x"}', "not a usable number"),
        (b'{"rescale_factor": 0}', "not a usable number"),
        (b'{"do_flip_channel_order": true}', "takes BGR images"),
    ):
        assert says in refused(contents._replace(processor=text))


@pytest.mark.slow
def test_architectures_that_are_not_trained_here(mask2former: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Mask2Former cannot be trained: its loss matches queries to segments; set"):
        model_to_train(files(mask2former), NAMES, {})
    with pytest.raises(ConfigError, match="BEiT cannot be trained: it accepts one image size only"):
        model_to_train(files(save(tmp_path, "beit")), NAMES, {})


@pytest.mark.slow
def test_our_own_files_are_checked_too(segformer: Path) -> None:
    model, card, _ = model_as_it_is(files(segformer), NAMES, {})
    state = safetensors.torch.load(network_to_bytes(model, card))
    for change, says in (
        ({"train_ids": (0, 1)}, "its classes are not those of the network"),
        ({"train_ids": (0, 1, 2, 3, 5)}, "its classes are not those of the network"),
        ({"huggingface": {"model_type": "bert"}}, "holds a 'bert' network"),
    ):
        with pytest.raises(WeightsError, match=says):
            network_from_bytes(pack(state, card.model_copy(update=change).to_text()), "w")
    with pytest.raises(WeightsError, match="holds a Hugging Face network"):
        weights_from_bytes(pack(state, card.to_text()), "w")
    with pytest.raises(WeightsError, match="card: : Invalid JSON"):
        network_from_bytes(safetensors.torch.save(state, metadata={"autolabel": "{"}), "w")


@pytest.mark.slow
def test_a_network_that_builds_but_cannot_run(segformer: Path) -> None:
    contents = files(segformer, lambda config: config.update(strides=[64, 2, 2, 2]))
    opened = model_as_it_is(contents, NAMES, {})
    with pytest.raises(WeightsError, match="SegFormer: cannot process an image of 64 x 64: ") as caught:
        opened.model.probabilities(torch.zeros(1, 3, 64, 64))
    assert "\n" not in str(caught.value)
