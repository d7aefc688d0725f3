"""Networks to and from weights files, and the initial weights of a training.

A weights file is safetensors with a card in its metadata that suffices to build the network again. It holds a whole
network, or a trunk alone (the `trunk.` entries), from which a network with any head and fusion can start.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from autolabel.config.networks import ModelConfig
from autolabel.errors import ConfigError, WeightsError
from autolabel.models.huggingface import HuggingFaceModel, huggingface_from_bytes, huggingface_to_bytes
from autolabel.models.layers import ClassifierConv
from autolabel.models.model import SegmentationModel, build_model, to_channels_last
from autolabel.models.skeleton import on_meta
from autolabel.models.weights_file import (
    HuggingFaceCard,
    NetworkCard,
    TrunkCard,
    WeightsCard,
    check_entries,
    clear_reinitialised,
    pack,
    read_card,
    unpack,
)

__all__ = ["WeightsCard", "weights_from_bytes", "weights_to_bytes"]


def weights_to_bytes(model: SegmentationModel, card: WeightsCard) -> bytes:
    """safetensors bytes: the same weights and card give the same bytes."""
    assert card.table.model_dump() == model.table, (card.table, model.table)
    assert card.num_classes == model.num_classes, (card.num_classes, model.num_classes)
    return pack(model.state_dict(), card.to_text())


def weights_from_bytes(data: bytes, where: object) -> tuple[SegmentationModel, WeightsCard]:
    """The network in eval mode on the CPU, and its card; `where` names the file in errors.

    The file is untrusted: WeightsError for a damaged file, a missing or invalid card, an unknown network, and keys,
    shapes, types or values that do not belong to it. A small file cannot make this allocate a large network.
    """
    card = read_card(data, where)
    if isinstance(card, TrunkCard):
        remedy = "name it as teacher.weights or student.weights of an experiment, to start a training from it"
        raise WeightsError(where, f"holds only a trunk ({card.trunk}), which labels nothing", remedy)
    if isinstance(card, HuggingFaceCard):
        raise WeightsError(where, "holds a Hugging Face network", "use one with a trunk, head and fusion of autolabel")
    model = _skeleton(card, where)
    tensors = unpack(data, where)
    check_entries(tensors, model.state_dict(), where)
    model.load_state_dict(tensors, assign=True)
    if any(buffer.is_meta for buffer in model.buffers()):  # of some timm networks; weights files do not hold them
        model = build_model(card.table, card.num_classes)
        model.load_state_dict(tensors)
    return to_channels_last(model.float()).eval(), card


def _skeleton(card: WeightsCard, where: object) -> SegmentationModel:
    """The network on the meta device, without memory for its weights."""
    try:
        with on_meta():
            return build_model(card.table, card.num_classes)
    except (ConfigError, RuntimeError, OverflowError, TypeError) as error:
        raise WeightsError(
            where, f"the network that its card describes cannot be built: {error}".splitlines()[0]
        ) from None


PREFIX = "trunk."


def trunk_to_bytes(state: Mapping[str, torch.Tensor], card: TrunkCard) -> bytes:
    """safetensors bytes of the `trunk.` entries of a network's state; the same input gives the same bytes."""
    assert all(key.startswith(PREFIX) for key in state)
    return pack(state, card.to_text())


def load_trunk(model: SegmentationModel, data: bytes, where: object, card: TrunkCard) -> None:
    """Load the weights of a trunk file into the trunk of a network. Raises WeightsError.

    The file may name another trunk if all entries fit: the weights of a ResNet serve output strides 8 and 16.
    """
    expected = model.trunk.state_dict(prefix=PREFIX)
    tensors = unpack(data, where)
    wanted = model.table["trunk"]
    if card.trunk != wanted and not _same_shapes(tensors, expected):
        raise WeightsError(where, f"holds trunk {card.trunk!r}", f"the experiment needs {wanted!r}")
    check_entries(tensors, expected, where)
    model.trunk.load_state_dict({key.removeprefix(PREFIX): value for key, value in tensors.items()})


def _same_shapes(tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> bool:
    return {key: value.shape for key, value in tensors.items()} == {key: value.shape for key, value in expected.items()}


# Settings that do not affect the shape of any weight, so a training may choose its own.
FREE = {"dropout", "low_scale"}


def start_from(
    data: bytes, where: object, table: ModelConfig, class_names: tuple[str, ...]
) -> tuple[SegmentationModel, WeightsCard]:
    """A network for `table` and `class_names` with the weights of a file, and its card (with the file's normalisation).

    If the file holds only a trunk, head and attention are randomly initialised; if it holds a network for other
    classes, the layers that end in class logits are. WeightsError if the file is unusable or holds another network.
    """
    card = read_card(data, where)
    if isinstance(card, TrunkCard):
        model = build_model(table, len(class_names))
        load_trunk(model, data, where, card)
        statistics = card.model_dump(include={"mean", "std", "extra"})
        return model, WeightsCard(table=table, class_names=class_names, **statistics)
    source, card = weights_from_bytes(data, where)
    for key, value in table.model_dump(exclude=FREE).items():
        if source.table[key] != value:
            raise WeightsError(where, f"holds {key} {source.table[key]!r}", f"the experiment needs {value!r}")
    fresh = () if card.class_names == class_names else class_layers(source)
    model = transfer_weights(source, table, len(class_names), fresh=fresh)
    return model, clear_reinitialised(card).model_copy(update={"table": table, "class_names": class_names})


def has_other_classes(data: bytes, where: object, class_names: tuple[str, ...]) -> bool:
    """Whether a weights file holds a whole network for other classes. Raises WeightsError."""
    card = read_card(data, where)
    return isinstance(card, WeightsCard) and card.class_names != class_names


def class_layers(model: SegmentationModel) -> tuple[str, ...]:
    """Names of the layers that end in class logits."""
    return tuple(f"head.{name}" for name, module in model.head.named_modules() if isinstance(module, ClassifierConv))


def transfer_weights(
    source: SegmentationModel, table: ModelConfig, num_classes: int, *, fresh: tuple[str, ...]
) -> SegmentationModel:
    """A network for `table` with the weights of `source`, except the layers `fresh`, which are randomly initialised."""
    model = build_model(table, num_classes)
    initial = {key: value for key, value in model.state_dict().items() if key.rpartition(".")[0] in fresh}
    model.load_state_dict(source.state_dict() | initial)
    return model


Network = SegmentationModel | HuggingFaceModel


def network_from_bytes(data: bytes, where: object) -> tuple[Network, NetworkCard]:
    """The network in eval mode on the CPU, and its card, whichever kind the file holds. Raises WeightsError."""
    if isinstance(read_card(data, where), HuggingFaceCard):
        return huggingface_from_bytes(data, where)
    return weights_from_bytes(data, where)


def network_to_bytes(model: Network, card: NetworkCard) -> bytes:
    """safetensors bytes: the same weights and card give the same bytes."""
    if isinstance(model, HuggingFaceModel):
        assert isinstance(card, HuggingFaceCard), type(card)
        return huggingface_to_bytes(model, card)
    assert isinstance(card, WeightsCard), type(card)
    return weights_to_bytes(model, card)
