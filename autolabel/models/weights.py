"""A whole network's weights on file: safetensors whose metadata holds a card, enough to build the network again."""

from __future__ import annotations

import torch

from autolabel.errors import ConfigError, WeightsError
from autolabel.models.cards import HuggingFaceCard, TrunkCard, WeightsCard, read_card
from autolabel.models.checks import check_entries
from autolabel.models.container import pack, unpack
from autolabel.models.model import SegmentationModel, build_model, to_channels_last

__all__ = ["WeightsCard", "weights_from_bytes", "weights_to_bytes"]


def weights_to_bytes(model: SegmentationModel, card: WeightsCard) -> bytes:
    """safetensors bytes: the same weights and card give the same bytes."""
    assert card.table.model_dump() == model.table, (card.table, model.table)
    assert card.num_classes == model.num_classes, (card.num_classes, model.num_classes)
    return pack(model.state_dict(), card.to_text())


def weights_from_bytes(data: bytes, where: object) -> tuple[SegmentationModel, WeightsCard]:
    """The network in eval mode on the CPU, and its card; `where` names the file in errors.

    Nothing is trusted: WeightsError for a damaged file, a missing or invalid card, an unknown network, and keys,
    shapes, types or values that do not belong to it. No memory is taken for a network the file does not fill.
    """
    card = read_card(data, where)
    if isinstance(card, TrunkCard):
        remedy = "name it as teacher.weights or student.weights of an experiment, to start a training from it"
        raise WeightsError(where, f"holds only a trunk ({card.trunk}), which labels nothing", remedy)
    if isinstance(card, HuggingFaceCard):
        raise WeightsError(where, "holds a Hugging Face network", "this needs a trunk, head and fusion of ours")
    model = _skeleton(card, where)
    tensors = unpack(data, where)
    check_entries(tensors, model.state_dict(), where)
    model.load_state_dict(tensors, assign=True)
    if any(buffer.is_meta for buffer in model.buffers()):  # of some timm networks: no file holds them
        model = build_model(card.table, card.num_classes)
        model.load_state_dict(tensors)
    return to_channels_last(model.float()).eval(), card


def _skeleton(card: WeightsCard, where: object) -> SegmentationModel:
    """The network without memory for its weights."""
    try:
        with torch.device("meta"):
            return build_model(card.table, card.num_classes)
    except (ConfigError, RuntimeError, OverflowError, TypeError) as error:
        raise WeightsError(where, f"the network of its card cannot be built: {error}".splitlines()[0]) from None
