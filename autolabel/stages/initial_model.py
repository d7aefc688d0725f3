"""The initial model of a teacher or student: a fresh network, weights of ours, or a Hugging Face model on disk.

Licence and source of fetched weights go into the key and the card.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autolabel.artifacts import read_initial_weights, read_weights
from autolabel.config.networks import HUB, TEACHER_WEIGHTS, ModelConfig, TrainConfig
from autolabel.errors import ConfigError, WeightsError
from autolabel.hub import ENTRIES, Fetched, require_fetched, snapshot_folder
from autolabel.hub.record import WHOLE, again, check_digest
from autolabel.stages.huggingface_folder import changed_file, folder_identity, read_files, record_of, same_bytes
from autolabel.store import Artefact, InputDigests, digest_json, sha256_bytes
from autolabel.user_files import read_user_file, reading

if TYPE_CHECKING:
    from autolabel.models import Network, NetworkCard
    from autolabel.models.weights_file import AnyCard


class InitialModel(NamedTuple):
    model: Network
    card: NetworkCard
    missing: tuple[str, ...] = ()  # classes that a Hugging Face model does not know
    note: str = ""  # for people: classes that begin afresh or are never predicted


def initial_identity(settings: TrainConfig, files: InputDigests) -> dict[str, Any]:
    """Initial weights count by their bytes, not by where they lie."""
    digests = {}
    if settings.weights is not None and settings.weights != TEACHER_WEIGHTS:  # a teacher's digest is an input's
        digests["weights"] = _weights_digest(settings, settings.weights, files)
    if settings.huggingface is not None:
        digests["huggingface"] = folder_identity(settings.huggingface, files)
    return digests


def _weights_digest(settings: TrainConfig, weights: Path | str, files: InputDigests) -> str:
    """ImageNet weights have a pinned digest, fetched ones a recorded one: their files are read only to be used."""
    if isinstance(weights, Path):
        with reading(weights, WeightsError, "give the path of a safetensors file"):
            return files.of_file(weights)
    if weights.startswith(HUB):
        return digest_json(_fetched_trunk(settings, weights).remarks())
    from autolabel.models.pretrained import package_for

    return package_for(settings.model.trunk, settings.place("weights")).sha256


def _fetched_trunk(settings: TrainConfig, weights: str) -> Fetched:
    return require_fetched(weights.removeprefix(HUB), "weights", settings.place("weights"))


def _read_initial(
    settings: TrainConfig, weights: Path | str, identity: Mapping[str, Any], teacher: Artefact | None
) -> bytes:
    """The bytes of the weights file that `weights` names. Raises ConfigError and WeightsError."""
    if teacher is not None:
        return read_initial_weights(teacher)
    if isinstance(weights, Path):
        return same_bytes(read_weights(weights), weights, identity.get("weights"))
    if weights.startswith(HUB):
        record = _fetched_trunk(settings, weights)
        if identity and identity["weights"] != digest_json(record.remarks()):
            raise changed_file(weights)
        return _import_fetched(record, settings.model.trunk, settings.place("weights"))
    from autolabel.models.pretrained import imagenet_weights

    return imagenet_weights(settings.model.trunk, settings.place("weights"))


def _import_fetched(record: Fetched, trunk: str, where: object) -> bytes:
    """A weights file of ours from a fetched one, whose digest is checked; its card names licence and source.

    An id that is not in the table is tried as `trunk` first: to compare it with all trunks takes long.
    """
    from autolabel.models.published import Choice, import_weights
    from autolabel.models.trunks import TRUNKS

    path = snapshot_folder(record, where) / WHOLE
    data = read_user_file(path, WeightsError, again(record))
    check_digest(record, WHOLE, sha256_bytes(data), where)
    entry = ENTRIES.get(record.id)
    if entry is not None:
        return import_weights(data, path, choice=Choice(trunk=entry.trunk), about=record.remarks()).data
    if trunk in TRUNKS:
        with suppress(WeightsError, ConfigError):
            return import_weights(data, path, choice=Choice(trunk=trunk), about=record.remarks()).data
    return import_weights(data, path, about=record.remarks()).data


def check_settings(settings: TrainConfig) -> None:
    """Settings that exclude or need one another. Raises ConfigError."""
    table = settings.toml_table
    foreign = settings.huggingface is not None
    if foreign and settings.weights is not None:
        raise ConfigError(f"{table}.huggingface", f"and {table}.weights: both are set", "leave one of them out")
    if foreign and settings.model != ModelConfig():
        raise ConfigError(f"{table}.model", "has no say over a Hugging Face model", f"leave [{table}.model] out")
    if settings.class_map and not foreign:
        raise ConfigError(f"{table}.class_map", "is for a Hugging Face model", f"name one with {table}.huggingface")
    if settings.epochs == 0 and not foreign and settings.weights is None:
        what = "0 means: take the weights as they are; but there are none"
        raise ConfigError(f"{table}.epochs", what, f"set it above 0, or give {table}.weights or {table}.huggingface")


def load_initial_model(
    settings: TrainConfig,
    class_names: tuple[str, ...],
    identity: Mapping[str, Any] | None = None,
    teacher: Artefact | None = None,
) -> InitialModel:
    """The network that the settings name, to be trained or (`epochs` = 0) as it is.

    `teacher` is the artefact that `weights = "teacher"` means; no other settings take one.

    Raises ConfigError and WeightsError, also where the files are not those of `identity` (see `initial_identity`).
    """
    check_settings(settings)
    identity = identity or {}
    if settings.huggingface is not None:
        return _from_huggingface(settings, settings.huggingface, class_names, identity)
    if settings.weights is not None:
        assert (settings.weights == TEACHER_WEIGHTS) == (teacher is not None)
        return _from_weights(settings, settings.weights, class_names, identity, teacher)
    from autolabel.models import WeightsCard, build_model

    model = build_model(settings.model, len(class_names))
    return InitialModel(model, WeightsCard(table=settings.model, class_names=class_names))


def is_from_scratch(settings: TrainConfig) -> bool:
    """Whether the network begins with random weights."""
    return settings.weights is None and settings.huggingface is None


def _from_huggingface(
    settings: TrainConfig, name: str, class_names: tuple[str, ...], identity: Mapping[str, Any]
) -> InitialModel:
    from autolabel.models.huggingface import model_as_it_is, model_to_train

    begin = model_to_train if settings.epochs else model_as_it_is
    model, card, missing = begin(read_files(name, identity.get("huggingface")), class_names, settings.class_map)
    if (record := record_of(name)) is not None:
        card = card.model_copy(update={"extra": card.extra | record.remarks()})
    what = "their layers begin afresh" if settings.epochs else "they are never predicted"
    note = f"{name} knows no class for {', '.join(missing)}: {what}" if missing else ""
    return InitialModel(model, card, missing, note)


def _from_weights(
    settings: TrainConfig,
    path: Path | str,
    class_names: tuple[str, ...],
    identity: Mapping[str, Any],
    teacher: Artefact | None,
) -> InitialModel:
    from autolabel.models import HuggingFaceCard, start_from
    from autolabel.models.checkpoint import has_other_classes
    from autolabel.models.weights_file import check_trained, read_card

    data = _read_initial(settings, path, identity, teacher)
    card = read_card(data, path)
    foreign = isinstance(card, HuggingFaceCard)
    if foreign or settings.epochs == 0:
        _check_classes(card, class_names, path)
        check_trained(card, path)
    if foreign:
        return _from_foreign_weights(settings, data, path)
    model, new_card = start_from(data, path, settings.model, class_names)
    other = has_other_classes(data, path, class_names)
    note = f"{path} knows other classes: the layers that end in class logits begin afresh" if other else ""
    return InitialModel(model, new_card, note=note)


def _check_classes(card: AnyCard, class_names: tuple[str, ...], path: Path | str) -> None:
    """Weights that are taken as they are must have just the experiment's classes."""
    names = getattr(card, "class_names", ())
    if names != class_names:
        what = f"is for the classes {', '.join(names)}" if names else "holds only a trunk, which labels nothing"
        raise WeightsError(path, what[:200], "train it (epochs above 0), or take weights made for these classes")


def _from_foreign_weights(settings: TrainConfig, data: bytes, path: Path | str) -> InitialModel:
    """Weights that came from a Hugging Face model stay one."""
    from autolabel.models.huggingface import check_trainable, huggingface_from_bytes

    if settings.model != ModelConfig():
        raise WeightsError(path, "holds a Hugging Face model", "leave the model table out")
    model, card = huggingface_from_bytes(data, path)
    if settings.epochs:
        check_trainable(model, path)
    return InitialModel(model, card)
