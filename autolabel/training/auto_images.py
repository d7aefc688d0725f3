"""How a student treats auto-labelled images. A teacher has none."""

from __future__ import annotations

from collections.abc import Sequence

from autolabel.config.networks import StudentConfig, TrainConfig
from autolabel.data.crops import AutoCrops


def auto_crops(settings: TrainConfig, layers: Sequence[str]) -> AutoCrops | None:
    """How their crops differ from the others; None = they do not. `layers`: the label layer of each image."""
    if not isinstance(settings, StudentConfig) or not settings.strong.is_any:
        return None
    is_auto = [layer == "auto" for layer in layers]
    return AutoCrops(is_auto, settings.strong, online=settings.method == "weak_to_strong")


def online_threshold(settings: TrainConfig) -> float:
    """The student labels a pixel for itself above this probability; 1 = none."""
    return settings.online_threshold if isinstance(settings, StudentConfig) else 1.0
