"""Loads a network and its card from the bytes of the files in a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from autolabel.errors import ConfigError, WeightsError
from autolabel.models.huggingface.architectures import Architecture
from autolabel.models.huggingface.class_mapping import check_covered, match_classes
from autolabel.models.huggingface.config import architecture_of, label_names, parse_json, statistics
from autolabel.models.huggingface.network import HuggingFaceModel
from autolabel.models.huggingface.prompts import (
    Tokens,
    detector_config,
    detector_tensors,
    prompts_for,
    token_ids,
)
from autolabel.models.huggingface.weights import Tensors, build_network, model_for, with_classes
from autolabel.models.weights_file import HuggingFaceCard, unpack


class FolderFiles(NamedTuple):
    """The contents of a folder; `weights` reads one file per call, because together they may be large."""

    where: str  # the folder, for error messages
    config: bytes
    processor: bytes | None
    weights: Sequence[Callable[[], bytes]]
    tokenizer: bytes | None = None  # tokenizer.json, for a network that is prompted


class LoadedModel(NamedTuple):
    model: HuggingFaceModel  # in eval mode
    card: HuggingFaceCard
    missing: tuple[str, ...]  # classes of the experiment without a class of the network


def model_as_it_is(files: FolderFiles, class_names: Sequence[str] | None, table: Mapping[str, str]) -> LoadedModel:
    """The network for the classes of an experiment, or for its own if `class_names` is None.

    `table` is that of `match_classes`. Raises WeightsError, and ConfigError if no class matches.
    """
    config = _config(files)
    if architecture_of(config, files.where).prompted:
        return _prompted(files, config, class_names, table)
    theirs = label_names(config, files.where)
    ours = theirs if class_names is None else class_names
    train_ids: Sequence[int] = range(len(theirs))
    if class_names is not None:
        train_ids = match_classes(theirs, ours, table, where=files.where)
        check_covered(train_ids, theirs, ours, where=files.where)
    model, card = _model(files, config, _tensors(files), train_ids, ours)
    return LoadedModel(model, card, _missing(train_ids, ours))


def _prompted(
    files: FolderFiles, config: Mapping[str, Any], class_names: Sequence[str] | None, table: Mapping[str, str]
) -> LoadedModel:
    if class_names is None:
        remedy = "name it as teacher.huggingface of an experiment, with teacher.epochs = 0"
        raise ConfigError(files.where, "labels the classes that it is asked for, and has none of its own", remedy)
    if files.tokenizer is None:
        raise WeightsError(files.where, "holds no tokenizer.json, so it cannot be asked", "save its processor there")
    prompts = prompts_for(class_names, table)
    train_ids = match_classes(prompts, class_names, table, where=files.where)
    check_covered(train_ids, prompts, class_names, where=files.where)
    tokens = token_ids(files.tokenizer, prompts, files.where)
    model, card = _model(files, config, detector_tensors(_tensors(files)), train_ids, class_names, tokens)
    return LoadedModel(model, card, _missing(train_ids, class_names))


def model_to_train(files: FolderFiles, class_names: Sequence[str], table: Mapping[str, str]) -> LoadedModel:
    """The network with the classes of an experiment (`weights.with_classes`), to be trained.

    Raises WeightsError, and ConfigError for an architecture that cannot be trained.
    """
    config = _config(files)
    _check_trainable(architecture_of(config, files.where), files.where)
    train_ids = match_classes(label_names(config, files.where), class_names, table, where=files.where)
    config, tensors = with_classes(config, _tensors(files), train_ids, class_names)
    model, card = _model(files, config, tensors, range(len(class_names)), class_names)
    return LoadedModel(model, card, _missing(train_ids, class_names))


def check_trainable(model: HuggingFaceModel, where: object) -> None:
    """ConfigError if the architecture cannot be trained, or the classes are not exactly the experiment's."""
    _check_trainable(model.architecture, where)
    if not model.has_our_classes:
        remedy = "start from its own folder: huggingface = ..."
        raise ConfigError(where, "has other classes than the experiment, so it cannot be trained further", remedy)


def _check_trainable(architecture: Architecture, where: object) -> None:
    if not architecture.trainable:
        reason = "its loss matches queries to segments" if architecture.queries else "it accepts one image size only"
        remedy = "set epochs = 0 to use it as it is, or use SegFormer or UperNet"
        raise ConfigError(where, f"{architecture.title} cannot be trained: {reason}", remedy)


def _model(
    files: FolderFiles,
    config: Mapping[str, Any],
    tensors: Tensors,
    train_ids: Sequence[int],
    class_names: Sequence[str],
    prompts: tuple[Tokens, ...] = (),
) -> tuple[HuggingFaceModel, HuggingFaceCard]:
    network, architecture, kept = build_network(config, tensors, files.where)
    processor = None if files.processor is None else parse_json(files.processor, f"{files.where}: image processor")
    normal = statistics(processor, architecture, files.where)
    card = HuggingFaceCard(
        class_names=tuple(class_names),
        mean=normal.mean,
        std=normal.std,
        huggingface=kept,
        train_ids=tuple(train_ids),
        prompts=prompts,
    )
    return model_for(network, architecture, card, files.where), card


def _missing(train_ids: Sequence[int], ours: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for train_id, name in enumerate(ours) if train_id not in train_ids)


def _config(files: FolderFiles) -> dict[str, Any]:
    return detector_config(parse_json(files.config, f"{files.where}: config.json"))


def _tensors(files: FolderFiles) -> Tensors:
    tensors: Tensors = {}
    for read in files.weights:
        tensors |= unpack(read(), files.where)
    return tensors
