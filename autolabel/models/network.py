"""Any network that a weights file of ours may hold."""

from __future__ import annotations

from autolabel.models.cards import HuggingFaceCard, NetworkCard, WeightsCard, read_card
from autolabel.models.huggingface import HuggingFaceModel, huggingface_from_bytes, huggingface_to_bytes
from autolabel.models.model import SegmentationModel
from autolabel.models.weights import weights_from_bytes, weights_to_bytes

Network = SegmentationModel | HuggingFaceModel


def network_from_bytes(data: bytes, where: object) -> tuple[Network, NetworkCard]:
    """The network in eval mode on the CPU, and its card. WeightsError as for the kind the card is of."""
    foreign = isinstance(read_card(data, where), HuggingFaceCard)
    return huggingface_from_bytes(data, where) if foreign else weights_from_bytes(data, where)


def network_to_bytes(model: Network, card: NetworkCard) -> bytes:
    """safetensors bytes: the same weights and card give the same bytes."""
    if isinstance(model, HuggingFaceModel):
        assert isinstance(card, HuggingFaceCard), type(card)
        return huggingface_to_bytes(model, card)
    assert isinstance(card, WeightsCard), type(card)
    return weights_to_bytes(model, card)
