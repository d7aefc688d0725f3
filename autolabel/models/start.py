"""Weights to start a training from."""

from __future__ import annotations

from autolabel.config import Model
from autolabel.errors import WeightsError
from autolabel.models.cards import TrunkCard, WeightsCard, read_card, to_be_trained
from autolabel.models.layers import Readout
from autolabel.models.model import SegmentationModel, build_model
from autolabel.models.trunk_weights import load_trunk
from autolabel.models.weights import weights_from_bytes

# Settings that shape no weight: a training may choose its own.
FREE = {"dropout", "low_scale"}


def start_from(
    data: bytes, where: object, table: Model, class_names: tuple[str, ...]
) -> tuple[SegmentationModel, WeightsCard]:
    """A network for `table` and `class_names` with the weights of a file, and its card (normalisation of the file).

    From a file that holds a trunk alone, head and attention start fresh. Where the file was made for other classes
    the layers that end in class logits do. WeightsError: the file is unusable or holds another network.
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
            raise WeightsError(where, f"holds {key} {source.table[key]!r}", f"the experiment asks for {value!r}")
    fresh = () if card.class_names == class_names else class_layers(source)
    model = carry_over(source, table, len(class_names), fresh=fresh)
    return model, to_be_trained(card).model_copy(update={"table": table, "class_names": class_names})


def knows_other_classes(data: bytes, where: object, class_names: tuple[str, ...]) -> bool:
    """Whether a weights file holds a whole network for other classes than these. Raises WeightsError."""
    card = read_card(data, where)
    return isinstance(card, WeightsCard) and card.class_names != class_names


def class_layers(model: SegmentationModel) -> tuple[str, ...]:
    """The layers that end in class logits."""
    return tuple(f"head.{name}" for name, module in model.head.named_modules() if isinstance(module, Readout))


def carry_over(
    source: SegmentationModel, table: Model, num_classes: int, *, fresh: tuple[str, ...]
) -> SegmentationModel:
    """A network for `table` with the weights of `source`, but for the layers that start `fresh`."""
    model = build_model(table, num_classes)
    drawn = {key: value for key, value in model.state_dict().items() if key.rpartition(".")[0] in fresh}
    model.load_state_dict(source.state_dict() | drawn)
    return model
