"""A trunk's weights on file: the `trunk.` entries of a network, which any head and fusion may start from."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from autolabel.errors import WeightsError
from autolabel.models.cards import TrunkCard
from autolabel.models.checks import check_entries
from autolabel.models.container import pack, unpack
from autolabel.models.model import SegmentationModel

PREFIX = "trunk."


def trunk_to_bytes(state: Mapping[str, torch.Tensor], card: TrunkCard) -> bytes:
    """safetensors bytes from the `trunk.` entries of a network's state; the same ones and card give the same bytes."""
    assert all(key.startswith(PREFIX) for key in state)
    return pack(state, card.to_text())


def load_trunk(model: SegmentationModel, data: bytes, where: object, card: TrunkCard) -> None:
    """Give the trunk of a network the weights of a file; head and attention stay as they are. Raises WeightsError.

    What counts is that the entries fit: a ResNet's serve at output stride 8 and at 16.
    """
    expected = model.trunk.state_dict(prefix=PREFIX)
    tensors = unpack(data, where)
    asked = model.table["trunk"]
    if card.trunk != asked and not _same_shapes(tensors, expected):
        raise WeightsError(where, f"holds trunk {card.trunk!r}", f"the experiment asks for {asked!r}")
    check_entries(tensors, expected, where)
    model.trunk.load_state_dict({key.removeprefix(PREFIX): value for key, value in tensors.items()})


def _same_shapes(given: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> bool:
    return {key: value.shape for key, value in given.items()} == {key: value.shape for key, value in expected.items()}
