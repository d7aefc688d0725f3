"""What lies beside weights on file: which network they belong to, and how its images are normalised."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field, JsonValue, ValidationError

from autolabel.config import Model, Table
from autolabel.errors import WeightsError
from autolabel.models.container import card_text
from autolabel.models.normalise import MEAN, STD

MAX_CLASSES = 65_536

Three = tuple[float, float, float]
Spread = Annotated[float, Field(gt=0)]


class Card(Table):
    """What every card holds: the statistics that images are normalised by, and remarks."""

    mean: Three = MEAN
    std: tuple[Spread, Spread, Spread] = STD
    extra: dict[str, JsonValue] = Field(default_factory=dict)

    def to_text(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, allow_nan=False)


class WeightsCard(Card):
    """A whole network: its table and its classes, enough to build it again."""

    table: Model
    class_names: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_CLASSES)]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


class TrunkCard(Card):
    """A trunk alone, by its name in `TRUNKS`: a start for training, nothing that labels."""

    trunk: str


def read_card(data: bytes, where: object) -> WeightsCard | TrunkCard:
    """The card of a weights file. Raises WeightsError."""
    text = card_text(data, where)
    if text is None:
        remedy = "published checkpoints must be imported first: autolabel import-weights"
        raise WeightsError(where, "no autolabel card in its metadata", remedy)
    kind = TrunkCard if _names_a_trunk(text) else WeightsCard
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise WeightsError(where, f"card: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _names_a_trunk(text: str) -> bool:
    try:
        card = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(card, dict) and "trunk" in card
