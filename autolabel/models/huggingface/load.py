"""The files of a Hugging Face folder, as bytes -> a network and its card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from autolabel.errors import ConfigError
from autolabel.models.huggingface.architectures import Architecture
from autolabel.models.huggingface.class_mapping import check_covered, match_classes
from autolabel.models.huggingface.config import architecture_of, label_names, parse_json, statistics
from autolabel.models.huggingface.network import HuggingFaceModel
from autolabel.models.huggingface.weights import Tensors, build_network, model_for, with_classes
from autolabel.models.weights_file import HuggingFaceCard, unpack


class FolderFiles(NamedTuple):
    """`weights` reads its files one after the other, for together they may be large."""

    where: str  # names the folder in errors
    config: bytes
    processor: bytes | None
    weights: Sequence[Callable[[], bytes]]


class LoadedModel(NamedTuple):
    model: HuggingFaceModel  # in eval mode
    card: HuggingFaceCard
    missing: tuple[str, ...]  # classes that none of the network's counted for


def model_as_it_is(files: FolderFiles, class_names: Sequence[str] | None, table: Mapping[str, str]) -> LoadedModel:
    """The network for the classes of an experiment, or for its own where `class_names` is None.

    `table` as for `match_classes`. Raises WeightsError, and ConfigError where no class fits.
    """
    config = _config(files)
    theirs = label_names(config, files.where)
    ours = theirs if class_names is None else class_names
    train_ids: Sequence[int] = range(len(theirs))
    if class_names is not None:
        train_ids = match_classes(theirs, ours, table, where=files.where)
        check_covered(train_ids, theirs, ours, where=files.where)
    model, card = _model(files, config, _tensors(files), train_ids, ours)
    return LoadedModel(model, card, _missing(train_ids, ours))


def model_to_train(files: FolderFiles, class_names: Sequence[str], table: Mapping[str, str]) -> LoadedModel:
    """The network with an experiment's classes as its own (`weights.with_classes`).

    Raises WeightsError, and ConfigError for an architecture that is not trained here.
    """
    config = _config(files)
    _check_trainable(architecture_of(config, files.where), files.where)
    train_ids = match_classes(label_names(config, files.where), class_names, table, where=files.where)
    config, tensors = with_classes(config, _tensors(files), train_ids, class_names)
    model, card = _model(files, config, tensors, range(len(class_names)), class_names)
    return LoadedModel(model, card, _missing(train_ids, class_names))


def check_trainable(model: HuggingFaceModel, where: object) -> None:
    """ConfigError for a network whose architecture is not trained here, or whose classes are not just ours."""
    _check_trainable(model.architecture, where)
    if not model.has_our_classes:
        remedy = "start from its own folder: huggingface = ..."
        raise ConfigError(where, "has classes of its own, which count for ours; to train, it must have ours", remedy)


def _check_trainable(architecture: Architecture, where: object) -> None:
    if not architecture.trainable:
        reason = "its loss matches queries to segments" if architecture.queries else "it knows one image size only"
        remedy = "set epochs = 0 to use it as it is, or take SegFormer or UperNet"
        raise ConfigError(where, f"{architecture.title} is not trained here: {reason}", remedy)


def _model(
    files: FolderFiles,
    config: Mapping[str, Any],
    tensors: Tensors,
    train_ids: Sequence[int],
    class_names: Sequence[str],
) -> tuple[HuggingFaceModel, HuggingFaceCard]:
    network, architecture, kept = build_network(config, tensors, files.where)
    processor = None if files.processor is None else parse_json(files.processor, f"{files.where}: image processor")
    seen = statistics(processor, architecture, files.where)
    card = HuggingFaceCard(
        class_names=tuple(class_names), mean=seen.mean, std=seen.std, huggingface=kept, train_ids=tuple(train_ids)
    )
    return model_for(network, architecture, card, files.where), card


def _missing(train_ids: Sequence[int], ours: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for train_id, name in enumerate(ours) if train_id not in train_ids)


def _config(files: FolderFiles) -> dict[str, Any]:
    return parse_json(files.config, f"{files.where}: config.json")


def _tensors(files: FolderFiles) -> Tensors:
    found: Tensors = {}
    for read in files.weights:
        found |= unpack(read(), files.where)
    return found
