"""Experiments for Python: the settings of an experiment file as an object."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

from autolabel.api.arguments import as_number, as_path, items
from autolabel.config import load, schema
from autolabel.errors import ConfigError


class Experiment(schema.Experiment):
    """All settings of an experiment, checked; attributes are its tables, as in `experiment.teacher.epochs`.

    The arguments are the tables of an experiment file: `Experiment(name="a", data={"source": "folder", "root": "."})`.
    Relative paths start at the current folder. Raises ConfigError.
    """

    def __init__(self, **settings: Any) -> None:
        document = deepcopy(settings)
        load.anchor_paths(document, Path())
        super().__init__(**dict(load.check_document(document, "Experiment")))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read an experiment file (TOML). Raises ConfigError."""
        return cls._from(load.load_experiment(as_path(path, "path", "give the path of an experiment file")))

    @classmethod
    def from_source(
        cls,
        source: str,
        root: str | os.PathLike[str],
        *,
        name: str | None = None,
        minutes: float | None = None,
        weights: str = "imagenet",
        settings: Mapping[str, Any] | None = None,
    ) -> Self:
        """Settings that fit your data and this machine, as `autolabel init` writes them.

        `source` is "folder", "camvid", "cityscapes" or "mapillary" (these two: the published recipe), `root` its
        folder. `minutes` is the time that a run may take; a few training steps are timed for it. `weights`: "imagenet",
        which needs the extra `pretrained`, or "random". `settings` say how the data lie, as in {"data.images": "img"}.
        Raises ConfigError, and DataError for data that cannot be used.
        """
        from autolabel.recommend.fit import experiment_name, new_experiment

        folder = as_path(root, "root", "give the folder of your data")
        if not isinstance(name, str | None):
            raise ConfigError("name", f"is of type {type(name).__name__}", "give text")
        name = name or experiment_name(folder, source)
        where = Path(f"{name}.toml").absolute()
        if weights not in ("imagenet", "random"):
            raise ConfigError("weights", f"{weights!r} is not known", "imagenet or random")
        if minutes is not None and not 0 < as_number(minutes, "minutes") <= 100_000:
            raise ConfigError("minutes", f"{minutes!r} is no time for a run", "give a number of minutes above 0")
        lines = _data_settings({} if settings is None else settings)
        new = new_experiment(source, folder, name, where=where, minutes=minutes, weights=weights, overrides=lines)
        return cls._from(load.parse_experiment(new.text.encode(), where=where, base=where.parent))

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """A copy with other values: `experiment.with_settings({"teacher.epochs": 3})`. Raises ConfigError."""
        document = self.model_dump(mode="json", exclude_unset=True)
        for key, value in items(settings, "with_settings"):
            load.apply_setting(document, tuple(key.split(".")), value, where=f"with_settings: {key}")
        return self._from(load.check_document(document, "with_settings"))

    @classmethod
    def _from(cls, checked: schema.Experiment) -> Self:
        return cls.model_construct(checked.model_fields_set, **dict(checked))


def _data_settings(settings: object) -> tuple[str, ...]:
    """The settings as `--set` of `autolabel init` takes them. Raises ConfigError."""
    lines = []
    for key, value in items(settings, "settings"):
        if not key.startswith("data."):
            remedy = "change other settings with with_settings() of the experiment"
            raise ConfigError(f"settings: {key}", "is no setting of the data, data.KEY", remedy)
        try:
            lines.append(f"{key}={load.toml_value(value)}")
        except ValueError as error:
            raise ConfigError(f"settings: {key}", str(error), "give text, a number, a list or a dict") from error
    return tuple(lines)
