"""Builds networks of the transformers library from untrusted weights, and reads and writes their weights files.

All access to the library goes through `transformers()`: imported late, offline and quiet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

from autolabel.distribution import install_command
from autolabel.errors import ConfigError, WeightsError
from autolabel.models.huggingface.architectures import Architecture
from autolabel.models.huggingface.class_mapping import NONE
from autolabel.models.huggingface.config import architecture_of, number_of_modules, reduced
from autolabel.models.huggingface.network import HuggingFaceModel
from autolabel.models.huggingface.prompts import check_tokens
from autolabel.models.weights_file import FLOATS, HuggingFaceCard, check_entries, listed, pack, read_card, unpack

_WHERE = "Hugging Face networks"


@contextmanager
def transformers() -> Iterator[ModuleType]:
    """The library, with its log lines and progress bars off inside the block.

    ConfigError if it is missing or broken. It is imported only on use, because the import takes a second.
    """
    library = _imported()
    log = library.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield library
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


def _imported() -> ModuleType:
    try:
        import scipy.optimize  # noqa: F401  # query-based networks import it when they are built
        import transformers
        from transformers import PreTrainedModel  # noqa: F401  # the package is lazy, so this is the import that can fail
    except ImportError as error:
        raise ConfigError(_WHERE, f"need a package: {error}".splitlines()[0], install_command("hf")) from None
    except Exception as error:  # a torchvision built for another torch can raise anything
        remedy = "`autolabel doctor` checks torch and torchvision"
        raise ConfigError(_WHERE, f"transformers cannot be imported: {error}".splitlines()[0], remedy) from None
    module: ModuleType = transformers
    return module


_SLACK = 2**24  # allowance for buffers that are computed, not stored, in values

Tensors = dict[str, torch.Tensor]


def build_network(
    config: Mapping[str, Any], tensors: Tensors, where: object
) -> tuple[Any, Architecture, dict[str, Any]]:
    """The library's network in eval mode, its architecture and its reduced config. Nothing is downloaded.

    WeightsError for an unknown or impossible network, or weights that do not fit it. Extra entries are ignored, because
    published files have them. A small file cannot make this allocate a large network.
    """
    architecture = architecture_of(config, where)
    odd = [key for key, value in tensors.items() if value.dtype not in (*FLOATS, torch.int64)]
    _refuse("of the wrong type", odd, where)
    with transformers() as library:
        kept = reduced(config, library, where)
        if number_of_modules(kept) > len(tensors):
            raise WeightsError(where, f"its config has more layers than the file has entries ({len(tensors)})")
        network_class = getattr(library, architecture.model)
        try:
            settings = network_class.config_class.from_dict(dict(kept))
            with torch.device("meta"):
                skeleton = network_class(settings)
            _check_size(skeleton, tensors, where)
            network, report = network_class.from_pretrained(
                None,
                config=settings,
                state_dict=dict(tensors),
                dtype=torch.float32,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # `_check_loaded` reports them
                output_loading_info=True,
            )
        except WeightsError:
            raise
        except Exception as error:  # a hostile config can make the library raise anything
            raise WeightsError(where, f"is no working {architecture.title} network: {_first_line(error)}") from None
    _check_loaded(report, where)
    check_entries(network.state_dict(), skeleton.state_dict(), where, remedy="")
    return network, architecture, kept


def with_classes(
    config: Mapping[str, Any], tensors: Tensors, train_ids: Sequence[int], names: Sequence[str]
) -> tuple[dict[str, Any], Tensors]:
    """Config and weights of the same network for the classes of an experiment, to be trained.

    A class of the experiment keeps the row of the first class that maps to it in the last layers. Other rows are
    initialised like `ClassifierConv`: small weights, and a bias that gives every class probability 1 / K.
    """
    changed = dict(tensors)
    for key in sorted(tensors):  # sorted, because random numbers depend on the order
        if key.endswith(("_head.classifier.weight", "_head.classifier.bias")):
            changed[key] = _rows(tensors[key], train_ids, len(names))
    return {**config, "id2label": {str(index): name for index, name in enumerate(names)}}, changed


def _rows(old: torch.Tensor, train_ids: Sequence[int], count: int) -> torch.Tensor:
    new = torch.empty((count, *old.shape[1:]))
    if old.ndim == 1:
        new.fill_(-math.log(max(1, count - 1)))
    else:
        new.normal_(std=0.01)
    for train_id in {*train_ids} - {NONE}:
        source = train_ids.index(train_id)
        if source < len(old):
            new[train_id] = old[source]
    return new


def huggingface_to_bytes(model: HuggingFaceModel, card: HuggingFaceCard) -> bytes:
    """safetensors bytes with the keys of the library's own files; the same weights give the same bytes."""
    from transformers.core_model_loading import revert_weight_conversion

    return pack(revert_weight_conversion(model.network, model.network.state_dict()), card.to_text())


def huggingface_from_bytes(data: bytes, where: object) -> tuple[HuggingFaceModel, HuggingFaceCard]:
    """The network in eval mode on the CPU, and its card. WeightsError as in `build_network`, or for an invalid card."""
    card = read_card(data, where)
    if not isinstance(card, HuggingFaceCard):
        raise WeightsError(where, "holds no Hugging Face network")
    network, architecture, _ = build_network(card.huggingface, unpack(data, where), where)
    return model_for(network, architecture, card, where), card


def model_for(network: Any, architecture: Architecture, card: HuggingFaceCard, where: object) -> HuggingFaceModel:
    """The network with the classes of a card. Raises WeightsError."""
    if architecture.prompted:
        check_tokens(card.prompts, network.config.text_config, where)
    num_labels = len(card.prompts) if architecture.prompted else network.config.num_labels
    if not card.train_ids or len(card.train_ids) != num_labels or max(card.train_ids) >= card.num_classes:
        raise WeightsError(where, "card: its classes are not those of the network")
    if network.config.num_labels < 2 and not architecture.queries:
        raise WeightsError(where, "has a single class, so its confidence is always 1", "use a network with two or more")
    try:
        return HuggingFaceModel(network, architecture, card.train_ids, card.num_classes, card.prompts).eval()
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise WeightsError(where, f"has impossible sizes: {_first_line(error)}") from None


def _check_size(skeleton: Any, tensors: Tensors, where: object) -> None:
    needed = sum(value.numel() for value in (*skeleton.parameters(), *skeleton.buffers()))
    stored = sum(value.numel() for value in tensors.values())
    if needed > stored + _SLACK:
        raise WeightsError(where, f"its config describes a network of {needed:,} values, the file holds {stored:,}")


def _check_loaded(report: Mapping[str, Any], where: object) -> None:
    """Raise WeightsError for the mismatches that the library reports."""
    mismatched = sorted(report["mismatched_keys"])
    shapes = [f"{key} {list(stored)}, expected {list(expected)}" for key, stored, expected in mismatched]
    _refuse("mis-shaped", shapes, where)
    _refuse("missing", sorted(report["missing_keys"]), where)


def _refuse(what: str, keys: list[str], where: object) -> None:
    if keys:
        raise WeightsError(
            where, f"entries {what} ({len(keys)}): {listed(keys)}", "correct config.json, or the weights"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
