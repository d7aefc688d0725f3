"""What a teacher or student begins with: a fresh network, weights of ours, or a Hugging Face model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autolabel.config import Model, Train
from autolabel.errors import ConfigError, WeightsError
from autolabel.stages.parts import huggingface
from autolabel.stages.parts.opening import read_weights
from autolabel.store import sha256_bytes

if TYPE_CHECKING:
    from autolabel.models import Network, NetworkCard
    from autolabel.models.cards import AnyCard


class Start(NamedTuple):
    model: Network
    card: NetworkCard
    lacking: tuple[str, ...] = ()  # classes that a Hugging Face model did not know
    note: str = ""  # what a person should know of it


def initial_identity(settings: Train) -> dict[str, Any]:
    """Initial weights count by their bytes, not by where they lie."""
    found = {}
    if settings.weights is not None:
        found["weights"] = _digest(settings, settings.weights)
    if settings.huggingface is not None:
        found["huggingface"] = huggingface.identity(settings.huggingface)
    return found


def _digest(settings: Train, weights: Path | str) -> str:
    """Of ImageNet weights the pinned one: the key is known before their package is installed."""
    if isinstance(weights, Path):
        return sha256_bytes(read_weights(weights))
    from autolabel.models.pretrained import package_for

    return package_for(settings.model.trunk, settings.place("weights")).sha256


def _read_initial(settings: Train, weights: Path | str) -> bytes:
    """The bytes of the weights file that `weights` names. Raises ConfigError and WeightsError."""
    if isinstance(weights, Path):
        return read_weights(weights)
    from autolabel.models.pretrained import imagenet_weights

    return imagenet_weights(settings.model.trunk, settings.place("weights"))


def check_settings(settings: Train) -> None:
    """Settings that exclude or need one another. Raises ConfigError."""
    table = type(settings).__name__.lower()
    foreign = settings.huggingface is not None
    if foreign and settings.weights is not None:
        raise ConfigError(f"{table}.huggingface", f"and {table}.weights: both are given", "leave one of them out")
    if foreign and settings.model != Model():
        raise ConfigError(f"{table}.model", "has no say over a Hugging Face model", f"leave [{table}.model] out")
    if settings.class_map and not foreign:
        raise ConfigError(f"{table}.class_map", "is for a Hugging Face model", f"name one with {table}.huggingface")
    if settings.epochs == 0 and not foreign and settings.weights is None:
        what = "0 means: take the weights as they are; but there are none"
        raise ConfigError(f"{table}.epochs", what, f"set it above 0, or give {table}.weights or {table}.huggingface")


def start(settings: Train, class_names: tuple[str, ...]) -> Start:
    """The network that the settings name, to be trained or (`epochs` = 0) as it is.

    Raises ConfigError and WeightsError.
    """
    check_settings(settings)
    if settings.huggingface is not None:
        return _from_huggingface(settings, settings.huggingface, class_names)
    if settings.weights is not None:
        return _from_weights(settings, settings.weights, class_names)
    from autolabel.models import WeightsCard, build_model

    model = build_model(settings.model, len(class_names))
    return Start(model, WeightsCard(table=settings.model, class_names=class_names))


def is_fresh(settings: Train) -> bool:
    """Whether the network begins with random weights."""
    return settings.weights is None and settings.huggingface is None


def _from_huggingface(settings: Train, name: str, class_names: tuple[str, ...]) -> Start:
    from autolabel.models.huggingface import model_as_it_is, model_to_train

    begin = model_to_train if settings.epochs else model_as_it_is
    model, card, lacking = begin(huggingface.read_files(name), class_names, settings.class_map)
    what = "their layers begin afresh" if settings.epochs else "they are never predicted"
    note = f"{name} knows no class for {', '.join(lacking)}: {what}" if lacking else ""
    return Start(model, card, lacking, note)


def _from_weights(settings: Train, path: Path | str, class_names: tuple[str, ...]) -> Start:
    from autolabel.models import HuggingFaceCard, start_from
    from autolabel.models.cards import check_trained, read_card
    from autolabel.models.start import knows_other_classes

    data = _read_initial(settings, path)
    card = read_card(data, path)
    foreign = isinstance(card, HuggingFaceCard)
    if foreign or settings.epochs == 0:
        _check_classes(card, class_names, path)
        check_trained(card, path)
    if foreign:
        return _from_foreign_weights(settings, data, path)
    model, begun = start_from(data, path, settings.model, class_names)
    other = knows_other_classes(data, path, class_names)
    note = f"{path} knows other classes: the layers that end in class logits begin afresh" if other else ""
    return Start(model, begun, note=note)


def _check_classes(card: AnyCard, class_names: tuple[str, ...], path: Path | str) -> None:
    """Weights that are taken as they are must have just the experiment's classes."""
    found = getattr(card, "class_names", ())
    if found != class_names:
        what = f"is for the classes {', '.join(found)}" if found else "holds only a trunk, which labels nothing"
        raise WeightsError(path, what[:200], "train it (epochs above 0), or take weights made for these classes")


def _from_foreign_weights(settings: Train, data: bytes, path: Path | str) -> Start:
    """What was a Hugging Face model goes on as one."""
    from autolabel.models.huggingface import check_trainable, huggingface_from_bytes

    if settings.model != Model():
        raise WeightsError(path, "holds a Hugging Face model", "leave the model table out")
    model, card = huggingface_from_bytes(data, path)
    if settings.epochs:
        check_trainable(model, path)
    return Start(model, card)
