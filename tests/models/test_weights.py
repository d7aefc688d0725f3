"""Weights on file: a faithful round trip, and one clear line for whatever a file may hold."""

from __future__ import annotations

import json
import struct

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from autolabel.config.networks import ModelConfig
from autolabel.errors import WeightsError
from autolabel.models import (
    SegmentationModel,
    WeightsCard,
    build_model,
    start_from,
    weights_from_bytes,
    weights_to_bytes,
)

TABLE = {"trunk": "hrnet_tiny", "head_channels": 8, "key_channels": 4, "attention_channels": 4}
NAMES = ("road", "car", "sky")
CARD = WeightsCard(table=TABLE, class_names=NAMES, mean=(0.5, 0.4, 0.3), extra={"steps": 7})


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    torch.manual_seed(0)
    return build_model(TABLE, 3).eval()


@pytest.fixture(scope="module")
def data(model: SegmentationModel) -> bytes:
    return weights_to_bytes(model, CARD)


def pack(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def changed_card(model: SegmentationModel, **changes: object) -> bytes:
    card = CARD.model_dump(mode="json") | changes
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    return safetensors.torch.save(tensors, {"autolabel": json.dumps(card)})


def changed_tensors(model: SegmentationModel, changes: dict[str, torch.Tensor]) -> bytes:
    tensors = {key: value.contiguous() for key, value in (model.state_dict() | changes).items()}
    return safetensors.torch.save(tensors, {"autolabel": CARD.model_dump_json()})


@pytest.mark.slow
def test_round_trip(model: SegmentationModel, data: bytes) -> None:
    loaded, card = weights_from_bytes(data, "w")
    assert card == CARD
    assert card.num_classes == 3
    assert not loaded.training
    images = torch.randn(1, 3, 33, 47)
    with torch.no_grad():
        assert torch.equal(loaded(images).fused, model(images).fused)
    assert all(p.requires_grad for p in loaded.parameters())
    assert weights_to_bytes(loaded, card) == data


@pytest.mark.slow
def test_any_safetensors_reader_opens_it(model: SegmentationModel, data: bytes) -> None:
    tensors = safetensors.torch.load(data)
    assert all(torch.equal(tensors[key], value) for key, value in model.state_dict().items())


@pytest.mark.slow
def test_half_precision_file_gives_a_float32_network(model: SegmentationModel) -> None:
    halves = {k: v.half() for k, v in model.state_dict().items() if v.is_floating_point()}
    loaded, _ = weights_from_bytes(changed_tensors(model, halves), "w")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", "not a safetensors file, or truncated"),
        (b"\x80\x02}q\x00.", "not a safetensors file, or truncated"),
        (struct.pack("<Q", 2**63) + b"{}", "not a safetensors file, or truncated"),
        (pack(b"[1, 2"), "its header is not a JSON object"),
        (pack(b"[" * 100_000), "its header is not a JSON object"),
        (pack([]), "its header is not a JSON object"),
        (pack({}), "no autolabel card"),
        (pack({"__metadata__": []}), "no autolabel card"),
        (pack({"__metadata__": {"autolabel": 3}}), "no autolabel card"),
        (pack({"__metadata__": {"autolabel": "{"}}), "card: "),
        (pack({"__metadata__": {"autolabel": CARD.model_dump_json()}}, b"xx"), "not a valid safetensors file"),
        (pack({"__metadata__": {"autolabel": CARD.model_dump_json()}}), r"entries missing \(\d+\)"),
    ],
)
def test_what_is_no_weights_file(bad: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as error:
        weights_from_bytes(bad, "x.safetensors")
    assert str(error.value).startswith("x.safetensors: ")
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": TABLE | {"trunk": "resnet"}}, "its card describes cannot be built: .*unknown trunk"),
        ({"table": TABLE | {"head_channels": 10**14}}, "its card describes cannot be built|mis-shaped"),
        ({"table": TABLE | {"head_channels": 10**30}}, "card: table.head_channels: Input should be less than"),
        ({"table": TABLE | {"key_channels": 10**9}}, "mis-shaped"),
        ({"table": TABLE | {"trunk": "hrnet_w18"}}, "entries missing"),
        ({"class_names": ["a"] * 4}, "mis-shaped"),
        ({"class_names": []}, "card: class_names"),
        ({"class_names": "abc"}, "card: class_names"),
        ({"mean": [0.1, 0.2]}, "card: mean"),
        ({"std": [0.1, 0.2, 0.0]}, "card: std"),
        ({"std": [0.1, 0.2, float("nan")]}, "card: "),
        ({"more": 1}, "card: more"),
    ],
)
def test_what_is_wrong_with_a_card(model: SegmentationModel, changes: dict[str, object], message: str) -> None:
    with pytest.raises(WeightsError, match=message) as error:
        weights_from_bytes(changed_card(model, **changes), "w")
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": torch.zeros(1)}, r"unexpected \(1\): extra"),
        ({"head.classifier.bias": torch.zeros(4)}, r"mis-shaped \(1\): head.classifier.bias \[4\], expected \[3\]"),
        ({"head.classifier.bias": torch.full((3,), float("inf"))}, r"not finite \(1\): head.classifier.bias"),
        ({"head.classifier.bias": torch.zeros(3, dtype=torch.complex64)}, r"wrong type \(1\)"),
        ({"head.classifier.bias": torch.zeros(3).to(torch.float8_e4m3fn)}, r"wrong type \(1\)"),
        ({"trunk.stem.0.norm.running_var": torch.full((16,), -1.0)}, r"negative \(1\)"),
    ],
)
def test_what_is_wrong_with_a_tensor(model: SegmentationModel, changes: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        weights_from_bytes(changed_tensors(model, changes), "w")


@pytest.mark.slow
def test_control_characters_of_a_file_stay_off_the_terminal(model: SegmentationModel) -> None:
    with pytest.raises(WeightsError) as error:
        weights_from_bytes(changed_tensors(model, {"\x1b[31m\n": torch.zeros(1)}), "w")
    assert str(error.value).isprintable()


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 40_000), byte=st.integers(0, 255), cut=st.booleans())
def test_damage_is_refused_or_harmless(data: bytes, at: int, byte: int, cut: bool) -> None:
    """Nothing but WeightsError comes out, whichever byte of the header or the first weights is changed."""
    bad = data[:at] if cut else data[:at] + bytes([byte]) + data[at + 1 :]
    try:
        weights_from_bytes(bad, "w")
    except WeightsError:
        return
    assert not cut


@pytest.mark.slow
def test_card_and_network_must_agree(model: SegmentationModel) -> None:
    with pytest.raises(AssertionError):
        weights_to_bytes(model, CARD.model_copy(update={"class_names": ("a", "b")}))
    with pytest.raises(ValidationError):
        WeightsCard(table=TABLE, class_names=())


@pytest.mark.slow
def test_start_with_the_same_classes_loads_everything(model: SegmentationModel, data: bytes) -> None:
    started, card = start_from(data, "w", ModelConfig(**TABLE, dropout=0.5, low_scale=0.25), NAMES)
    assert all(
        torch.equal(a, b) for a, b in zip(started.state_dict().values(), model.state_dict().values(), strict=True)
    )
    assert started.table["dropout"] == 0.5
    assert card.mean == CARD.mean
    weights_to_bytes(started, card)


@pytest.mark.slow
def test_start_with_other_classes_draws_the_classifiers_anew(model: SegmentationModel, data: bytes) -> None:
    started, card = start_from(data, "w", ModelConfig(**TABLE), ("sky", "road", "car", "bus"))
    before = model.state_dict()
    fresh = {key for key, value in started.state_dict().items() if not torch.equal(value, before[key])}
    assert fresh == {f"head.{name}.{part}" for name in ("classifier", "aux_classifier") for part in ("weight", "bias")}
    assert card.class_names == ("sky", "road", "car", "bus")
    weights_to_bytes(started, card)


@pytest.mark.slow
def test_start_refuses_another_network(data: bytes) -> None:
    with pytest.raises(WeightsError, match="w: holds head_channels 8; the experiment needs 16"):
        start_from(data, "w", ModelConfig(**TABLE | {"head_channels": 16}), NAMES)
