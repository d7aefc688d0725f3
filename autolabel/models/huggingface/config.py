"""Reads the JSON files of an untrusted Hugging Face folder: the network's config, and how images are normalised.

The config keeps only settings that its architecture declares. Settings that could fetch, run or choose code
(`auto_map`, `backbone` by hub id, kernels, quantisation) never reach the library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from autolabel.config.base import Config
from autolabel.errors import WeightsError
from autolabel.models.huggingface.architectures import ARCHITECTURES, BACKBONES, PART_BACKBONES, PARTS, Architecture
from autolabel.models.weights_file import Spread, Three

_EARLIER = {"out_features", "out_indices", "segmentation_indices", "rope_theta", "rope_scaling"}  # read, not declared
_LARGEST = 2**17  # limit of every size and number
_COUNTS = re.compile(r"layers|depths|blocks|convs")  # settings that are a number of modules


def parse_json(data: bytes, where: object) -> dict[str, Any]:
    """A JSON object of finite numbers. Raises WeightsError."""
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise WeightsError(where, "is not a JSON object")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(name)


def architecture_of(config: Mapping[str, Any], where: object) -> Architecture:
    """The entry for a config's `model_type`. Raises WeightsError."""
    name = config.get("model_type")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise WeightsError(where, f"holds a {name!r} network", f"known are {', '.join(sorted(ARCHITECTURES))}")
    return ARCHITECTURES[name]


def label_names(config: Mapping[str, Any], where: object) -> tuple[str, ...]:
    """The class names of the network, by index. Raises WeightsError."""
    labels = config.get("id2label")
    if labels is None:  # the library's default
        return ("LABEL_0", "LABEL_1")
    try:
        by_index = {int(key): name for key, name in labels.items()}
        names = tuple(by_index[index] for index in range(len(labels)))
    except (AttributeError, KeyError, ValueError):
        names = ()
    if not names or not all(isinstance(name, str) for name in names):
        raise WeightsError(where, "id2label does not name classes 0, 1, 2, ...", "correct config.json")
    return names


def reduced(config: Mapping[str, Any], library: ModuleType, where: object) -> dict[str, Any]:
    """The settings that describe the network and its backbone. Raises WeightsError."""
    if config.get("quantization_config") is not None:
        raise WeightsError(where, "holds quantised weights", "use the network before quantisation")
    config_class = getattr(library, architecture_of(config, where).model).config_class
    kept = _declared(config, config_class, library) | {"model_type": config["model_type"]}
    if config.get("id2label") is not None:
        kept["id2label"] = config["id2label"]
    if "backbone_config" in kept:
        kept["backbone_config"] = _backbone(config["backbone_config"], library, where)
    elif "backbone_config" in {field.name for field in fields(config_class)}:
        raise WeightsError(where, "does not describe its backbone (backbone_config)", "save it with transformers 5")
    kept |= {key: _part(key, kept[key], library, where) for key in PARTS.keys() & kept.keys()}
    if "is_training" in kept:
        kept["is_training"] = False  # the text encoder of OneFormer serves a training loss only
    _check_numbers("", {key: value for key, value in kept.items() if key != "id2label"}, where)
    return kept


def _declared(config: Mapping[str, Any], config_class: type, library: ModuleType) -> dict[str, Any]:
    shared = {field.name for field in fields(library.PreTrainedConfig)}
    known = {field.name for field in fields(config_class) if not field.name.startswith("_")} - shared | _EARLIER
    return {key: value for key, value in config.items() if key in known and value is not None}


def _part(key: str, config: object, library: ModuleType, where: object) -> dict[str, Any]:
    if not isinstance(config, dict):
        raise WeightsError(where, f"{key} is not a table", "save it with transformers 5")
    config_class = getattr(library, PARTS[key])
    kept = _declared(config, config_class, library) | {"model_type": config_class.model_type}
    if "backbone_config" in kept:
        kept["backbone_config"] = _backbone(config["backbone_config"], library, where, PART_BACKBONES)
    return kept


def _backbone(
    config: object, library: ModuleType, where: object, known: Mapping[str, str] = BACKBONES
) -> dict[str, Any]:
    name = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(name, str) or name not in known:
        raise WeightsError(where, f"has a {name!r} backbone", f"known are {', '.join(sorted(known))}")
    return _declared(config, getattr(library, known[name]), library) | {"model_type": name}


def _check_numbers(key: str, value: Any, where: object) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_numbers(str(name), inner, where)
    elif isinstance(value, list):
        for inner in value:
            _check_numbers(key, inner, where)
    elif isinstance(value, int | float) and abs(value) > _LARGEST:
        raise WeightsError(where, f"{key} = {value} is too large for a setting of a network")


def number_of_modules(config: Mapping[str, Any]) -> int:
    """A lower bound on the number of modules that a reduced config describes."""
    total = 0
    for key, value in config.items():
        if isinstance(value, Mapping) and (key == "backbone_config" or key in PARTS):
            total += number_of_modules(value)
        elif _COUNTS.search(key):
            total += sum(n for n in (value if isinstance(value, list) else [value]) if isinstance(n, int) and n > 0)
    return total


class Statistics(Config):
    """Normalisation as in a card: the network's input is (x / 255 - mean) / std."""

    mean: Three
    std: tuple[Spread, Spread, Spread]


def statistics(processor: Mapping[str, Any] | None, architecture: Architecture, where: object) -> Statistics:
    """The normalisation of a preprocessor_config.json; without one, the architecture's usual statistics.

    A processor_config.json (OneFormer) nests the same settings in `image_processor`. The library computes
    (x * rescale_factor - image_mean) / image_std. Sizes are ignored: the experiment sets the scales of images. Raises
    WeightsError.
    """
    own = dict(processor or {})
    nested = own.get("image_processor")
    own = nested if isinstance(nested, dict) else own
    settings: dict[str, Any] = {"image_mean": architecture.mean, "image_std": architecture.std} | own
    if settings.get("do_flip_channel_order"):
        raise WeightsError(where, "takes BGR images (do_flip_channel_order)", "use a network that takes RGB")
    try:
        factor = 255.0 * (settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0)
        plain = not settings.get("do_normalize", True)
        mean, std = (0.0, 1.0) if plain else (settings["image_mean"], settings["image_std"])
        return Statistics(mean=_scaled(mean, factor), std=_scaled(std, factor))
    except (TypeError, ValueError, ZeroDivisionError, ValidationError):
        raise WeightsError(where, "image_mean, image_std or rescale_factor is not a usable number") from None


def _scaled(values: Any, factor: float) -> Any:
    """One number or three -> three floats."""
    numbers = [values] * 3 if isinstance(values, int | float) else list(values)
    return tuple(float(number) / factor for number in numbers)
