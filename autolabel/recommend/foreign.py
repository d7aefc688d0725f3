"""The network of a user that an experiment file names as its teacher: its table in the file, checked with the data."""

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
    foreign: tuple[str, ...]  # of the table [teacher.foreign]; empty for a Hugging Face model


def foreign_table(path: Path, overrides: tuple[str, ...]) -> tuple[ForeignTable, tuple[str, ...]]:
    """The tables of the ONNX file, Hugging Face folder or folder of arrays at `path`; and the other overrides.

    Raises ConfigError.
    """
    if not path.exists():
        remedy = "name an ONNX file, a Hugging Face folder, or a folder of arrays"
        raise ConfigError("--teacher", f"{path} does not exist", remedy)
    place = toml_string(str(path.resolve()))
    teacher, foreign = {"epochs": "0"}, {}
    if (path / "config.json").is_file():
        teacher["huggingface"] = place
    else:
        foreign = {"kind": toml_string("arrays" if path.is_dir() else "onnx"), "path": place}
    others = []
    for override in overrides:
        key, separator, value = override.partition("=")
        key = key.strip()
        if not separator or not (key.startswith(_FOREIGN) or key == _CLASS_MAP):
            others.append(override)
            continue
        setting = key.rpartition(".")[2]
        is_known = key == _CLASS_MAP or (foreign and setting not in ("kind", "path"))
        if not re.fullmatch("[a-z_]+", setting) or not is_known:
            raise ConfigError(f"--set {override}", "is no setting of this teacher", _remedy(foreign))
        (teacher if setting == "class_map" else foreign)[setting] = toml_literal(value)
    return ForeignTable(_lines(teacher), _lines(foreign)), tuple(others)


def _remedy(foreign: dict[str, str]) -> str:
    return "--teacher says kind and path" if foreign else f"a Hugging Face model takes {_CLASS_MAP} alone"


def _lines(table: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{key} = {value}" for key, value in table.items())


def check_teacher(experiment: Experiment, data: SourceListing) -> None:
    """Open the network, or list the arrays. Raises ConfigError, DataError and WeightsError, as a run would."""
    from autolabel.errors import naming_settings
    from autolabel.flow.stage import PreflightContext
    from autolabel.stages.foreign import check_foreign
    from autolabel.stages.train import check_network

    check = check_network if experiment.teacher.foreign is None else check_foreign
    with naming_settings(lambda name: f"teacher.{name}"):
        check(PreflightContext(experiment.teacher, {}, data))
