"""Weights to start a training from."""

from __future__ import annotations

from autolabel.config import Model
from autolabel.errors import WeightsError
from autolabel.models.layers import Readout
from autolabel.models.model import SegmentationModel, build_model
from autolabel.models.weights import WeightsCard, weights_from_bytes

# Settings that shape no weight: a training may choose its own.
FREE = {"dropout", "low_scale"}


def start_from(
    data: bytes, where: object, table: Model, class_names: tuple[str, ...]
) -> tuple[SegmentationModel, WeightsCard]:
    """A network for `table` and `class_names` with the weights of a file, and its card (normalisation of the file).

    Where the file was made for other classes the layers that end in class logits start fresh. WeightsError: the
    file is unusable or holds another network.
    """
    source, card = weights_from_bytes(data, where)
    for key, value in table.model_dump(exclude=FREE).items():
        if source.table[key] != value:
            raise WeightsError(where, f"holds {key} {source.table[key]!r}", f"the experiment asks for {value!r}")
    model = build_model(table, len(class_names))
    state = source.state_dict()
    if card.class_names != class_names:
        fresh = [f"head.{name}." for name, module in model.head.named_modules() if isinstance(module, Readout)]
        own = model.state_dict()
        state = {key: own[key] if key.startswith(tuple(fresh)) else value for key, value in state.items()}
    model.load_state_dict(state)
    return model, card.model_copy(update={"table": table, "class_names": class_names})
