"""A stranger's checkpoint -> our weights file: strict, every entry used or named."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from pydantic import JsonValue

from autolabel.classes import CLASS_SETS, ClassSet
from autolabel.config.networks import ModelConfig
from autolabel.errors import ConfigError, WeightsError
from autolabel.models.checkpoint import class_layers, transfer_weights, trunk_to_bytes, weights_to_bytes
from autolabel.models.model import SegmentationModel, build_model
from autolabel.models.published.detect import (
    TRUNK_PREFIXES,
    Choice,
    Network,
    check_choice,
    closest_network,
    closest_trunk,
    known_incompatibility,
    similarity,
)
from autolabel.models.published.layout import absent_counters, published_keys, published_names, to_state_dict
from autolabel.models.published.read import Entries, Shapes, entries_of, read_checkpoint, shapes_of, without_prefixes
from autolabel.models.skeleton import on_meta
from autolabel.models.trunks import TRUNKS
from autolabel.models.weights_file import TrunkCard, WeightsCard, listed
from autolabel.store import sha256_bytes

USUAL = CLASS_SETS["cityscapes"]  # the classes of published checkpoints that have as many
UNLIKE = 0.1  # less alike than this is not called close
SEED = 0  # of layers that a file does not give
NO_CHOICE = Choice()
NOTHING: Mapping[str, JsonValue] = MappingProxyType({})


class Notes(NamedTuple):
    """The use that was made of each entry of a file."""

    layout: str  # the name that the network is published under; a trunk's is ours
    used: int
    left_out: tuple[str, ...]  # a trunk's classifier
    beside: tuple[str, ...]  # what the file holds apart from weights
    counters: int  # of norms, absent in the file
    fresh: tuple[str, ...] = ()  # layers drawn anew, for another number of classes: ours, then the file's name

    def remarks(self, digest: str) -> dict[str, JsonValue]:
        """For the card; `digest` is the sha256 of the file."""
        lists: dict[str, JsonValue] = {key: [*getattr(self, key)] for key in ("left_out", "beside", "fresh")}
        return {"imported": {"sha256": digest, "layout": self.layout, **lists}}


class Imported(NamedTuple):
    data: bytes  # the weights file
    card: WeightsCard | TrunkCard
    notes: Notes


def import_weights(
    data: bytes,
    where: object,
    *,
    choice: Choice = NO_CHOICE,
    classes: ClassSet | None = None,
    about: Mapping[str, JsonValue] = NOTHING,
) -> Imported:
    """The weights of a checkpoint of a published layout, or of a trunk trained on ImageNet.

    Which network it is shows in its keys and shapes, unless `choice` says so. `classes` names its classes (those of
    Cityscapes where there are 19); where it has another number of them, the layers that end in class logits are drawn
    anew. `about` joins the remarks on the card. The same bytes give the same file. WeightsError: no file that can
    be used; ConfigError: no choice that can.
    """
    check_choice(choice)
    entries = entries_of(read_checkpoint(data, where), where, size=len(data))
    digest = sha256_bytes(data)
    network = closest_network(shapes_of(entries.weights), choice)
    if network is not None:
        return _import_network(entries, network, where, digest=digest, classes=classes, about=about)
    return _import_trunk(entries, choice, where, digest=digest, classes=classes, about=about)


def _import_network(
    entries: Entries,
    network: Network,
    where: object,
    *,
    digest: str,
    classes: ClassSet | None,
    about: Mapping[str, JsonValue],
) -> Imported:
    model = _skeleton(network, where)
    names = published_names(model)
    _check_similarity(entries.weights, published_keys(model), where)
    remedy = f"the closest network is {network.name} with {network.num_classes} classes"
    state = to_state_dict(entries.weights, names, model.state_dict(), where, remedy=remedy)
    class_names = _class_names(network.num_classes, classes, where)
    model.load_state_dict(state, assign=True)
    fresh = class_layers(model) if len(class_names) != network.num_classes else ()
    notes = Notes(
        layout=network.name,
        used=len(entries.weights),
        left_out=(),
        beside=entries.beside,
        counters=len(absent_counters(entries.weights, names.values())),
        fresh=tuple(f"{layer} ({names[f'{layer}.weight'].removesuffix('.weight')})" for layer in fresh),
    )
    if fresh:
        model = _with_classes(model, network.table, len(class_names), fresh)
    extra = notes.remarks(digest) | dict(about)
    card = WeightsCard(table=network.table, class_names=class_names, extra=extra)
    return Imported(weights_to_bytes(model, card), card, notes)


def _import_trunk(
    entries: Entries,
    choice: Choice,
    where: object,
    *,
    digest: str,
    classes: ClassSet | None,
    about: Mapping[str, JsonValue],
) -> Imported:
    weights = without_prefixes(entries.weights, TRUNK_PREFIXES, where)
    layout = closest_trunk(shapes_of(weights), choice)
    expected = layout.shapes
    _check_similarity(weights, expected, where)
    for option, setting in (("--head", choice.head), ("--fusion", choice.fusion), ("--classes", classes)):
        if setting:
            raise ConfigError(option, f"{where} holds a trunk alone, which has none", f"leave {option} out")
    left_out = [key for key in weights if key.startswith(layout.classifiers) and key not in expected]
    kept = {key: value for key, value in weights.items() if key not in left_out}
    remedy = f"the closest trunk is {layout.trunk}{known_incompatibility(kept)}"
    state = to_state_dict(kept, layout.names, layout.state, where, remedy=remedy)
    notes = Notes(
        layout=layout.trunk,
        used=len(kept),
        left_out=tuple(left_out),
        beside=entries.beside,
        counters=len(absent_counters(kept, expected)),
    )
    extra = notes.remarks(digest) | dict(about)
    card = TrunkCard(trunk=layout.trunk, mean=layout.mean, std=layout.std, extra=extra)
    return Imported(trunk_to_bytes(state, card), card, notes)


def _check_similarity(weights: Mapping[str, object], shapes: Shapes, where: object) -> None:
    if similarity(shapes_of(weights), shapes) < UNLIKE:
        found = f"resembles no known network: its {len(weights)} entries are {listed([*weights])}"
        raise WeightsError(where, found, f"known trunks: {', '.join(TRUNKS)}")


def _skeleton(network: Network, where: object) -> SegmentationModel:
    """The network without memory for its weights."""
    try:
        with on_meta():
            return build_model(network.table, network.num_classes)
    except (RuntimeError, OverflowError, TypeError) as error:
        raise WeightsError(where, f"its shapes describe no network: {error}".splitlines()[0]) from None


def _class_names(count: int, classes: ClassSet | None, where: object) -> tuple[str, ...]:
    if classes is not None:
        return classes.names
    if count == USUAL.num_classes:
        return USUAL.names
    raise ConfigError(where, f"holds {count} classes and not their names", "give them with --classes SET or FILE")


def _with_classes(
    source: SegmentationModel, table: ModelConfig, num_classes: int, fresh: tuple[str, ...]
) -> SegmentationModel:
    """With as many classes; the same draw every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return transfer_weights(source, table, num_classes, fresh=fresh)
