"""How a student treats images without a fine label. A teacher treats all alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from autolabel.config.networks import OnlinePixels, StudentConfig, TrainConfig
from autolabel.data.crops import ONLINE, AutoCrops
from autolabel.errors import ConfigError

# The label layers whose images get strong changes, by the pixels that are labelled online.
_CHANGED: dict[OnlinePixels | None, tuple[str, ...]] = {
    None: ("auto",),
    "all": ("auto",),
    "unlabelled": ("auto", "coarse"),
}


def auto_crops(settings: TrainConfig, layers: Sequence[str]) -> AutoCrops | None:
    """How their crops differ from the others; None = they do not. `layers`: the label layer of each image."""
    if not isinstance(settings, StudentConfig) or not settings.strong.is_any:
        return None
    online = settings.online_pixels if settings.method == "weak_to_strong" else None
    changed = _CHANGED[online]
    return AutoCrops([layer in changed for layer in layers], settings.strong, online)


def online_threshold(settings: TrainConfig) -> float:
    """The student labels a pixel for itself above this probability; 1 = none."""
    return settings.online_threshold if isinstance(settings, StudentConfig) else 1.0


def check_online(settings: StudentConfig, *, layers: Collection[str], num_classes: int) -> None:
    """Raises ConfigError if no image of the label `layers` would get online labels, or these do not fit."""
    changed = _CHANGED[settings.online_pixels]
    if set(changed).isdisjoint(layers):
        names = " or ".join(changed)
        keep = ', or set student.online_pixels = "unlabelled"' if "coarse" in layers else ""
        raise ConfigError("student.method", f"no image has {names} labels for it", f"add {names} to fuse.layers{keep}")
    if num_classes > ONLINE:
        what = f"it works with {ONLINE} classes at most, and there are {num_classes}"
        raise ConfigError("student.method", what, 'set student.method = "offline"')
    if settings.label_weights != "none":
        what = "pixels that are labelled online have no weight"
        raise ConfigError("student.label_weights", what, 'leave it out, or set student.method = "offline"')
