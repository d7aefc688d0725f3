"""The one door to the transformers library: late, offline and quiet.

Weights of Hugging Face networks: from a stranger's file into a network, and in our own files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

from autolabel.errors import ConfigError, WeightsError
from autolabel.models.huggingface.architectures import Architecture
from autolabel.models.huggingface.class_mapping import NONE
from autolabel.models.huggingface.config import architecture_of, number_of_modules, reduced
from autolabel.models.huggingface.network import HuggingFaceModel
from autolabel.models.weights_file import FLOATS, HuggingFaceCard, check_entries, listed, pack, read_card, unpack

_WHERE = "Hugging Face networks"


@contextmanager
def transformers() -> Iterator[ModuleType]:
    """The library, without its own log lines and progress bars while the block runs.

    Raises ConfigError where it is missing or broken. It takes a second to import, so only what needs it asks for it.
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
        import scipy.optimize  # noqa: F401  # the query-based networks want it once they are built
        import transformers
        from transformers import PreTrainedModel  # noqa: F401  # the package itself is lazy: this is what can fail
    except ImportError as error:
        raise ConfigError(_WHERE, f"need a package: {error}".splitlines()[0], "pip install 'autolabel[hf]'") from None
    except Exception as error:  # a torchvision built for another torch raises whatever its extension raises
        remedy = "`autolabel doctor` checks torch and torchvision"
        raise ConfigError(_WHERE, f"transformers cannot be imported: {error}".splitlines()[0], remedy) from None
    module: ModuleType = transformers
    return module


_SLACK = 2**24  # values of buffers that are computed, not stored

Tensors = dict[str, torch.Tensor]


def build_network(
    config: Mapping[str, Any], tensors: Tensors, where: object
) -> tuple[Any, Architecture, dict[str, Any]]:
    """The library's network in eval mode, its architecture and its reduced config. Nothing is trusted or fetched.

    WeightsError: an unknown or impossible network, or weights that are not its own. Entries that the network does
    not have are left out: published files hold such. No memory is taken for a network the file does not fill.
    """
    architecture = architecture_of(config, where)
    odd = [key for key, value in tensors.items() if value.dtype not in (*FLOATS, torch.int64)]
    _refuse("of the wrong type", odd, where)
    with transformers() as library:
        kept = reduced(config, library, where)
        if number_of_modules(kept) > len(tensors):
            raise WeightsError(where, f"its config asks for more layers than the file's {len(tensors)} entries fill")
        kind = getattr(library, architecture.model)
        try:
            settings = kind.config_class.from_dict(dict(kept))
            with torch.device("meta"):
                skeleton = kind(settings)
            _check_size(skeleton, tensors, where)
            network, found = kind.from_pretrained(
                None,
                config=settings,
                state_dict=dict(tensors),
                dtype=torch.float32,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # they are named below
                output_loading_info=True,
            )
        except WeightsError:
            raise
        except Exception as error:  # what a stranger's config makes the library raise is not ours to list
            raise WeightsError(where, f"is no working {architecture.title} network: {_first_line(error)}") from None
    _check_loaded(found, where)
    check_entries(network.state_dict(), skeleton.state_dict(), where, remedy="")
    return network, architecture, kept


def with_classes(
    config: Mapping[str, Any], tensors: Tensors, train_ids: Sequence[int], names: Sequence[str]
) -> tuple[dict[str, Any], Tensors]:
    """Config and weights of the same network for our classes, to be trained on.

    The last layers keep their row where one of their classes counts for ours (the first such), and start fresh
    elsewhere: small weights, and a bias at which every class has probability 1 / K, as our own networks begin.
    """
    changed = dict(tensors)
    for key in sorted(tensors):  # a file's entries come in no fixed order, random numbers do
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
    """safetensors bytes with the names that the library's own files have: the same weights give the same bytes."""
    from transformers.core_model_loading import revert_weight_conversion

    return pack(revert_weight_conversion(model.network, model.network.state_dict()), card.to_text())


def huggingface_from_bytes(data: bytes, where: object) -> tuple[HuggingFaceModel, HuggingFaceCard]:
    """The network in eval mode on the CPU, and its card. WeightsError as `build_network`, or for an invalid card."""
    card = read_card(data, where)
    if not isinstance(card, HuggingFaceCard):
        raise WeightsError(where, "holds no Hugging Face network")
    network, architecture, _ = build_network(card.huggingface, unpack(data, where), where)
    return model_for(network, architecture, card, where), card


def model_for(network: Any, architecture: Architecture, card: HuggingFaceCard, where: object) -> HuggingFaceModel:
    """The network with the classes of a card. Raises WeightsError."""
    if len(card.train_ids) != network.config.num_labels or max(card.train_ids) >= card.num_classes:
        raise WeightsError(where, "card: its classes are not those of the network")
    if network.config.num_labels < 2 and not architecture.queries:
        raise WeightsError(where, "has a single class: that is never unsure", "take a network of two or more")
    try:
        return HuggingFaceModel(network, architecture, card.train_ids, card.num_classes).eval()
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise WeightsError(where, f"sizes that fit nothing: {_first_line(error)}") from None


def _check_size(skeleton: Any, tensors: Tensors, where: object) -> None:
    asked = sum(value.numel() for value in (*skeleton.parameters(), *skeleton.buffers()))
    given = sum(value.numel() for value in tensors.values())
    if asked > given + _SLACK:
        raise WeightsError(where, f"its config describes a network of {asked:,} values, the file holds {given:,}")


def _check_loaded(found: Mapping[str, Any], where: object) -> None:
    """`found` is the library's own account of what fitted."""
    mismatched = sorted(found["mismatched_keys"])
    shapes = [f"{key} {list(given)}, expected {list(wanted)}" for key, given, wanted in mismatched]
    _refuse("mis-shaped", shapes, where)
    _refuse("missing", sorted(found["missing_keys"]), where)


def _refuse(what: str, keys: list[str], where: object) -> None:
    if keys:
        raise WeightsError(where, f"entries {what} ({len(keys)}): {listed(keys)}", "mend config.json, or the weights")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
