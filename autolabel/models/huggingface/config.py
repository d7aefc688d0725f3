"""A stranger's config.json, checked and reduced to what describes the network.

Only settings that its architecture declares are kept: what could fetch, run or choose code (`auto_map`, `backbone` by
hub id, kernels, quantisation) never reaches the library.

How a Hugging Face folder wants its images: mean and standard deviation of values on [0, 1].
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from autolabel.config.schema import Config
from autolabel.errors import WeightsError
from autolabel.models.huggingface.architectures import ARCHITECTURES, BACKBONES, Architecture
from autolabel.models.weights_file import Spread, Three

_EARLIER = {"out_features", "out_indices", "segmentation_indices", "rope_theta", "rope_scaling"}  # read, not declared
_LARGEST = 2**17  # no size or number of anything is larger
_COUNTS = re.compile(r"layers|depths|blocks|convs")  # settings that say how many modules there are


def parse_json(data: bytes, where: object) -> dict[str, Any]:
    """A JSON object of finite numbers. Raises WeightsError."""
    try:
        found = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise WeightsError(where, "is no JSON object")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(name)


def architecture_of(config: Mapping[str, Any], where: object) -> Architecture:
    """The entry for a config's `model_type`. Raises WeightsError."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise WeightsError(where, f"holds a {kind!r} network", f"known are {', '.join(sorted(ARCHITECTURES))}")
    return ARCHITECTURES[kind]


def label_names(config: Mapping[str, Any], where: object) -> tuple[str, ...]:
    """The names of the network's classes, in its order. Raises WeightsError."""
    given = config.get("id2label")
    if given is None:  # the library's default
        return ("LABEL_0", "LABEL_1")
    try:
        names = {int(key): name for key, name in given.items()}
        found = tuple(names[index] for index in range(len(given)))
    except (AttributeError, KeyError, ValueError):
        found = ()
    if not found or not all(isinstance(name, str) for name in found):
        raise WeightsError(where, "id2label does not name classes 0, 1, 2, ...", "mend config.json")
    return found


def reduced(config: Mapping[str, Any], library: ModuleType, where: object) -> dict[str, Any]:
    """The settings that describe the network, its backbone's included. Raises WeightsError."""
    if config.get("quantization_config") is not None:
        raise WeightsError(where, "holds quantised weights", "take the network as it was before")
    kind = getattr(library, architecture_of(config, where).model).config_class
    kept = _declared(config, kind, library) | {"model_type": config["model_type"]}
    if config.get("id2label") is not None:
        kept["id2label"] = config["id2label"]
    if "backbone_config" in kept:
        kept["backbone_config"] = _backbone(config["backbone_config"], library, where)
    elif "backbone_config" in {field.name for field in fields(kind)}:
        raise WeightsError(where, "does not describe its backbone (backbone_config)", "save it with transformers 5")
    if "is_training" in kept:
        kept["is_training"] = False  # OneFormer: its text encoder serves a training loss only
    _check_numbers("", {key: value for key, value in kept.items() if key != "id2label"}, where)
    return kept


def _declared(config: Mapping[str, Any], kind: type, library: ModuleType) -> dict[str, Any]:
    shared = {field.name for field in fields(library.PreTrainedConfig)}
    known = {field.name for field in fields(kind) if not field.name.startswith("_")} - shared | _EARLIER
    return {key: value for key, value in config.items() if key in known and value is not None}


def _backbone(config: object, library: ModuleType, where: object) -> dict[str, Any]:
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(kind, str) or kind not in BACKBONES:
        raise WeightsError(where, f"has a {kind!r} backbone", f"known are {', '.join(sorted(BACKBONES))}")
    return _declared(config, getattr(library, BACKBONES[kind]), library) | {"model_type": kind}


def _check_numbers(key: str, value: Any, where: object) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_numbers(str(name), inner, where)
    elif isinstance(value, list):
        for inner in value:
            _check_numbers(key, inner, where)
    elif isinstance(value, int | float) and abs(value) > _LARGEST:
        raise WeightsError(where, f"{key} = {value} is no setting of a network")


def number_of_modules(config: Mapping[str, Any]) -> int:
    """A lower bound of how many modules a reduced config asks for, known before any is built."""
    total = 0
    for key, value in config.items():
        if isinstance(value, Mapping) and key == "backbone_config":
            total += number_of_modules(value)
        elif _COUNTS.search(key):
            total += sum(n for n in (value if isinstance(value, list) else [value]) if isinstance(n, int) and n > 0)
    return total


class Statistics(Config):
    """As a card holds them: the network is given (x / 255 - mean) / std."""

    mean: Three
    std: tuple[Spread, Spread, Spread]


def statistics(processor: Mapping[str, Any] | None, architecture: Architecture, where: object) -> Statistics:
    """Of a preprocessor_config.json, or what the architecture is usually given where a folder has none.

    In a processor_config.json (OneFormer) the same lies one level down. The library computes
    (x * rescale_factor - image_mean) / image_std. Sizes are not read: images are fed at the scales the experiment
    asks for. Raises WeightsError.
    """
    given = dict(processor or {})
    nested = given.get("image_processor")
    given = nested if isinstance(nested, dict) else given
    found: dict[str, Any] = {"image_mean": architecture.mean, "image_std": architecture.std} | given
    if found.get("do_flip_channel_order"):
        raise WeightsError(where, "wants blue, green, red (do_flip_channel_order)", "only RGB networks are known")
    try:
        factor = 255.0 * (found.get("rescale_factor", 1 / 255) if found.get("do_rescale", True) else 1.0)
        plain = not found.get("do_normalize", True)
        mean, std = (0.0, 1.0) if plain else (found["image_mean"], found["image_std"])
        return Statistics(mean=_scaled(mean, factor), std=_scaled(std, factor))
    except (TypeError, ValueError, ZeroDivisionError, ValidationError):
        raise WeightsError(where, "image_mean, image_std or rescale_factor are no usable numbers") from None


def _scaled(values: Any, factor: float) -> Any:
    """One number or three -> three floats."""
    numbers = [values] * 3 if isinstance(values, int | float) else list(values)
    return tuple(float(number) / factor for number in numbers)
