"""The teacher of another framework that an experiment file names: its table in the file, checked with the data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from autolabel.config.load import toml_literal, toml_string
from autolabel.config.schema import Experiment
from autolabel.data.sources.base import SourceListing
from autolabel.errors import ConfigError

_FOREIGN, _CLASS_MAP = "teacher.foreign.", "teacher.class_map"


class ForeignTable(NamedTuple):
    """Lines of an experiment file."""

    teacher: tuple[str, ...]  # of the table [teacher]
    foreign: tuple[str, ...]  # of the table [teacher.foreign]


def foreign_table(path: Path, overrides: tuple[str, ...]) -> tuple[ForeignTable, tuple[str, ...]]:
    """The tables of the ONNX file or folder of arrays at `path`; and the overrides that are none of the teacher's.

    Raises ConfigError.
    """
    if not path.exists():
        raise ConfigError("--teacher", f"{path} does not exist", "name an ONNX file, or a folder of arrays")
    kind = "arrays" if path.is_dir() else "onnx"
    foreign = {"kind": toml_string(kind), "path": toml_string(str(path.resolve()))}
    teacher = {"epochs": "0"}
    others = []
    for override in overrides:
        key, separator, value = override.partition("=")
        key = key.strip()
        if not separator or not (key.startswith(_FOREIGN) or key == _CLASS_MAP):
            others.append(override)
            continue
        setting = key.rpartition(".")[2]
        if not re.fullmatch("[a-z_]+", setting) or setting in ("kind", "path"):
            raise ConfigError(f"--set {override}", "is no setting of this teacher", "--teacher says kind and path")
        (teacher if setting == "class_map" else foreign)[setting] = toml_literal(value)
    return ForeignTable(_lines(teacher), _lines(foreign)), tuple(others)


def _lines(table: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{key} = {value}" for key, value in table.items())


def check_teacher(experiment: Experiment, data: SourceListing) -> None:
    """Open the model, or list the arrays. Raises ConfigError, DataError and WeightsError, as a run would."""
    from autolabel.errors import naming_settings
    from autolabel.flow.stage import PreflightContext
    from autolabel.stages.foreign import check_foreign

    with naming_settings(lambda name: f"teacher.{name}"):
        check_foreign(PreflightContext(experiment.teacher, {}, data))
