"""The rules by class that the settings of a label set name."""

from __future__ import annotations

from typing import Any

from autolabel.artifacts import RulesMeta
from autolabel.classes import id_of_name
from autolabel.config.schema import LabelConfig
from autolabel.errors import DataError, LabelError, SettingError
from autolabel.store import InputDigests, sha256_bytes
from autolabel.user_files import read_user_file

_MAX_BYTES = 64_000_000
_REMEDY = "give an 8-bit grey PNG of the size of the images"


def key_settings(settings: LabelConfig, files: InputDigests) -> dict[str, Any]:
    """The content of the ego mask counts, not its place."""
    key = settings.for_key()
    return key if settings.ego_mask is None else {**key, "ego_mask": sha256_bytes(read_ego_mask(settings))}


def rules_of(settings: LabelConfig, names: tuple[str, ...]) -> RulesMeta | None:
    """The rules by class; None where one of the simple policies holds for all. Raises ConfigError for unknown names."""
    for setting in ("coarse_classes", "coarse_sets", "min_region"):
        for name in getattr(settings, setting):
            id_of_name(name, names, where=setting)
    policies = [settings.coarse_classes.get(name, settings.coarse) for name in names]
    sets = [_set_of(settings, name, names) for name in names]
    if set(policies) == {"off"} and (settings.coarse_sets or settings.coarse_border):
        setting = "coarse_sets" if settings.coarse_sets else "coarse_border"
        raise SettingError(setting, "has no effect: coarse labels are not in use", "set coarse or coarse_classes")
    simple = len(set(policies)) == 1 and policies[0] in ("off", "veto", "fill") and not settings.coarse_sets
    if simple and not (settings.coarse_border or settings.min_region or settings.ego_mask):
        return None
    return RulesMeta(
        policies=list(policies),
        sets=sets,
        border=settings.coarse_border,
        least=[settings.min_region.get(name, 0) for name in names],
        ego=settings.ego_mask is not None,
    )


def _set_of(settings: LabelConfig, name: str, names: tuple[str, ...]) -> list[int]:
    allowed = settings.coarse_sets.get(name, (name,))
    if not allowed:
        raise SettingError("coarse_sets", f"{name!r} stands for no class", 'name one or more, or use "off" for it')
    return sorted({id_of_name(one, names, where="coarse_sets") for one in allowed})


def uses_coarse(settings: LabelConfig) -> bool:
    return {settings.coarse, *settings.coarse_classes.values()} != {"off"}


def read_ego_mask(settings: LabelConfig) -> bytes:
    """The bytes of the mask. Raises DataError for a missing file, and for one that is no 8-bit grey PNG."""
    from autolabel.labels import png

    assert settings.ego_mask is not None
    data = read_user_file(settings.ego_mask, DataError, _REMEDY, at_most=_MAX_BYTES)
    try:
        png.decode(data, where=settings.ego_mask)
    except LabelError as error:
        raise LabelError(settings.ego_mask, error.what, _REMEDY) from error
    return data
