"""What lies beside weights on file: which network they belong to, and how its images are normalised."""

from __future__ import annotations

import json
from typing import Annotated, TypeVar

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


class NetworkCard(Card):
    """A whole network, enough to build it again: each kind adds what describes it."""

    class_names: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_CLASSES)]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


class WeightsCard(NetworkCard):
    """A network of ours, by its table."""

    table: Model


class HuggingFaceCard(NetworkCard):
    """A network of the transformers library."""

    huggingface: dict[str, JsonValue]  # its config, reduced to what describes the network
    train_ids: tuple[Annotated[int, Field(ge=-1)], ...]  # of each of its classes; -1: it counts for none of ours


class TrunkCard(Card):
    """A trunk alone, by its name in `TRUNKS`: a start for training, nothing that labels."""

    trunk: str


CardKind = TypeVar("CardKind", bound=Card)
AnyCard = WeightsCard | HuggingFaceCard | TrunkCard
# By the entry that only cards of this kind have; the others are of networks of ours.
_KINDS: dict[str, type[HuggingFaceCard] | type[TrunkCard]] = {"huggingface": HuggingFaceCard, "trunk": TrunkCard}


def read_card(data: bytes, where: object) -> AnyCard:
    """The card of a weights file. Raises WeightsError."""
    text = card_text(data, where)
    if text is None:
        remedy = "published checkpoints must be imported first: autolabel import-weights"
        raise WeightsError(where, "no autolabel card in its metadata", remedy)
    try:
        return _kind(text).model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise WeightsError(where, f"card: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def drawn_anew(card: Card) -> tuple[str, ...]:
    """Layers that an import drew anew, for other classes, and that no training has seen since."""
    imported = card.extra.get("imported")
    layers = imported.get("fresh") if isinstance(imported, dict) else None
    return tuple(map(str, layers)) if isinstance(layers, list) else ()


def check_trained(card: Card, where: object) -> None:
    """WeightsError where the network would label by layers that have learnt nothing."""
    layers = drawn_anew(card)
    if layers:
        what = f"its layers of classes were drawn anew and know nothing yet: {', '.join(layers)}"
        raise WeightsError(where, what[:300], "train it: name it as teacher.weights, with teacher.epochs above 0")


def to_be_trained(card: CardKind) -> CardKind:
    """The card of a network whose training begins: none of its layers counts as drawn anew."""
    imported = card.extra.get("imported")
    if not isinstance(imported, dict) or "fresh" not in imported:
        return card
    return card.model_copy(update={"extra": {**card.extra, "imported": {**imported, "fresh": []}}})


def _kind(text: str) -> type[AnyCard]:
    try:
        card = json.loads(text)
    except (ValueError, RecursionError):
        card = None
    found = (kind for entry, kind in _KINDS.items() if isinstance(card, dict) and entry in card)
    return next(found, WeightsCard)
