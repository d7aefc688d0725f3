"""A new experiment for a data set: settings fitted to data and machine, or the published recipe of its source."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from autolabel.config.load import is_utf8, parse_experiment, toml_string
from autolabel.config.schema import Experiment
from autolabel.data.build import ScanResult
from autolabel.errors import ConfigError, SettingError
from autolabel.recommend.choose import Recommendation, recommend, within
from autolabel.recommend.data_settings import data_settings, look_at, with_settings
from autolabel.recommend.facts import DataFacts, data_facts, machine_facts
from autolabel.recommend.foreign import ForeignTable, check_teacher, foreign_table
from autolabel.recommend.timing import FASTER, Timing, measure, step_seconds
from autolabel.recommend.write import experiment_text
from autolabel.resources import resource

FITTED = ("folder", "camvid")  # sources whose settings are chosen from the data; the others have published recipes
PUBLISHED = ("cityscapes", "mapillary")


class NewExperiment(NamedTuple):
    text: str  # TOML
    summary: str  # of the data and the choices, for people
    seen: ScanResult  # of a sample of the masks


def experiment_name(root: Path, source: str) -> str:
    """A legal name of an experiment on the data in `root`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name).strip(".-_")[:64] or source


def new_experiment(
    source: str,
    root: Path,
    name: str,
    *,
    where: Path,
    minutes: float | None,
    weights: str,
    overrides: tuple[str, ...] = (),
    teacher: Path | None = None,
) -> NewExperiment:
    """Choose the settings. `minutes` is the time for a run on this machine, `weights` "imagenet" or "random".

    `overrides` are settings of the data for the file, such as "data.masks=labels". `teacher` is an ONNX file, a
    Hugging Face folder or a folder of arrays that labels in place of a network of ours; `overrides` then also say how
    it is read.

    Errors in the text name `where`, the file it is for.
    Raises ConfigError, also for a budget that is too small, and DataError for data that cannot be used.
    """
    if source not in (*FITTED, *PUBLISHED):
        raise SettingError("source", f"{source!r} is not known", f"one of {', '.join((*FITTED, *PUBLISHED))}")
    if not root.is_dir():
        raise ConfigError(root, "is not a folder", "name the folder of your data")
    if not is_utf8(f"{root.resolve()} {name}"):
        raise ConfigError(root, "an experiment file is UTF-8; this path or name is not", "rename the folder")
    if teacher is not None and not is_utf8(str(teacher.resolve())):
        raise ConfigError(teacher, "an experiment file is UTF-8; this path is not", "rename the file or folder")
    foreign = None
    if teacher is not None:
        if source not in FITTED:
            raise SettingError("teacher", f"does not go with {source}", f"use --source {' or '.join(FITTED)}")
        if minutes is not None:
            raise SettingError("minutes", "--teacher is not trained, so there are no steps to choose", "leave it out")
        foreign, overrides = foreign_table(teacher, overrides)
    lines = data_settings(source, root, overrides, masks_needed=foreign is None)
    if source in PUBLISHED:
        if minutes is not None:
            raise SettingError("minutes", f"the recipe of {source} is the published one", "leave it out")
        return _published(source, root, name, where, lines)
    return _fitted(source, root, name, where, lines, minutes, weights, foreign)


def _fitted(
    source: str,
    root: Path,
    name: str,
    where: Path,
    lines: list[str],
    minutes: float | None,
    weights: str,
    foreign: ForeignTable | None,
) -> NewExperiment:
    from autolabel.models.pretrained import imagenet_weights

    table = {"source": source, "root": str(root.resolve())}
    empty = f"name = {toml_string(name)}\n[data]\n" + "\n".join(f"{key} = {toml_string(v)}" for key, v in table.items())
    seen = look_at(_parsed(with_settings(empty, lines), where).data)
    data = data_facts(seen)
    machine = machine_facts()
    choice = recommend(data, machine)
    if foreign is not None and not data.num_val:
        weights = "random"  # no student can be trained and measured, so its initial weights do not matter
    if weights == "imagenet":  # says how to get them, before anything is written
        try:
            imagenet_weights(choice.trunk, "weights")
        except ConfigError as error:
            raise SettingError("weights", error.what, error.remedy) from error

    def text(choice: Recommendation, timing: Timing | None = None) -> str:
        written = experiment_text(
            name, table, weights=weights, choice=choice, data=data, machine=machine, timing=timing, foreign=foreign
        )
        return with_settings(written, lines)

    if foreign is not None:
        choice = replace(choice, scales=(1.0,))
        check_teacher(_parsed(text(choice), where), seen.listing)
    if minutes is None:
        return NewExperiment(text(choice), _counts(data), seen)
    num_classes = len(data.class_names)
    timing = measure(_parsed(text(choice), where), data.size, num_classes)
    if machine.may_gain_from_bf16:
        half = replace(choice, precision="bf16")
        seconds = step_seconds(_parsed(text(half), where), num_classes)
        if seconds <= FASTER * timing.step:
            choice = replace(
                half, precision_reason=f"a step takes {seconds / timing.step:.2f} of the time of fp32 here"
            )
            timing = replace(timing, step=seconds)
    choice = within(minutes, choice, timing, data)
    schedules = choice.schedules
    steps = f"{schedules['teacher'].steps} steps for the teacher, {schedules['student'].steps} for the student"
    return NewExperiment(text(choice, timing), f"{_counts(data)}; {steps}", seen)


def _published(source: str, root: Path, name: str, where: Path, lines: list[str]) -> NewExperiment:
    text = resource("configs", f"{source}.toml").decode()
    for key, value in (("name", name), ("root", str(root.resolve()))):
        line = f"{key} = {toml_string(value)}"
        text = re.sub(rf'^{key} = ".*"$', line.replace("\\", r"\\"), text, count=1, flags=re.MULTILINE)
    text = with_settings(text, lines)
    seen = look_at(_parsed(text, where).data)
    return NewExperiment(text, f"{len(seen.listing.images)} images", seen)


def _parsed(text: str, where: Path) -> Experiment:
    return parse_experiment(text.encode(), where=where, base=where.parent)


def _counts(data: DataFacts) -> str:
    layers = {"fine labels": data.num_fine, "coarse labels": data.num_coarse, "no label": data.num_unlabelled}
    parts = [f"{count} training images with {layer}" for layer, count in layers.items() if count]
    return ", ".join([*parts, f"{data.num_val} validation images"])
