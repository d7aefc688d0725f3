"""How a Hugging Face folder wants its images: mean and standard deviation of values on [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from autolabel.config import Table
from autolabel.errors import WeightsError
from autolabel.models.cards import Spread, Three
from autolabel.models.huggingface.architectures import Architecture


class Statistics(Table):
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
