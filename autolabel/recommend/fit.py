"""A new experiment for a data set: settings fitted to data and machine, or the published recipe of its source."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

from autolabel.config.load import is_utf8, parse_experiment
from autolabel.config.schema import Experiment
from autolabel.errors import ConfigError, SettingError
from autolabel.recommend.choose import recommend, within
from autolabel.recommend.facts import DataFacts, data_facts, machine_facts
from autolabel.recommend.timing import measure
from autolabel.recommend.write import experiment_text, quoted
from autolabel.resources import resource

FITTED = ("folder", "camvid")  # sources whose settings are chosen from the data; the others have published recipes
PUBLISHED = ("cityscapes", "mapillary")


class NewExperiment(NamedTuple):
    text: str  # TOML
    summary: str  # of the data and the choices, for people


def experiment_name(root: Path, source: str) -> str:
    """A legal name of an experiment on the data in `root`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name).strip(".-_")[:64] or source


def new_experiment(
    source: str, root: Path, name: str, *, where: Path, minutes: float | None, weights: str
) -> NewExperiment:
    """Choose the settings. `minutes` is the time for a run on this machine, `weights` "imagenet" or "random".

    Errors in the text name `where`, the file it is for. Raises ConfigError, and DataError for data that cannot be used.
    """
    if source not in (*FITTED, *PUBLISHED):
        raise SettingError("source", f"{source!r} is not known", f"one of {', '.join((*FITTED, *PUBLISHED))}")
    if not root.is_dir():
        raise ConfigError(root, "is not a folder", "name the folder of your data")
    if not is_utf8(f"{root.resolve()} {name}"):
        raise ConfigError(root, "an experiment file is UTF-8; this path or name is not", "rename the folder")
    if source in PUBLISHED:
        if minutes is not None:
            raise SettingError("minutes", f"the recipe of {source} is the published one", "leave it out")
        return _published(source, root, name, where)
    return _fitted(source, root, name, where, minutes, weights)


def _fitted(source: str, root: Path, name: str, where: Path, minutes: float | None, weights: str) -> NewExperiment:
    from autolabel.models.pretrained import imagenet_weights

    table = {"source": source, "root": str(root.resolve())}
    empty = f"name = {quoted(name)}\n[data]\n" + "\n".join(f"{key} = {quoted(v)}" for key, v in table.items())
    data = data_facts(_parsed(empty, where).data)
    machine = machine_facts()
    choice = recommend(data, machine)
    if weights == "imagenet":  # says how to get them, before anything is written
        try:
            imagenet_weights(choice.trunk, "weights")
        except ConfigError as error:
            raise SettingError("weights", error.what, error.remedy) from error
    text = partial(experiment_text, name, table, weights=weights, data=data, machine=machine)
    if minutes is None:
        return NewExperiment(text(choice=choice), _counts(data))
    timing = measure(_parsed(text(choice=choice), where), data.size, len(data.class_names))
    choice = within(minutes, choice, timing, data)
    steps = f"{choice.steps} steps for the teacher, {choice.student_steps} for the student"
    return NewExperiment(text(choice=choice, timing=timing), f"{_counts(data)}; {steps}")


def _published(source: str, root: Path, name: str, where: Path) -> NewExperiment:
    from autolabel.data.build import plan

    text = resource("configs", f"{source}.toml").decode()
    for key, value in (("name", name), ("root", str(root.resolve()))):
        line = f"{key} = {quoted(value)}"
        text = re.sub(rf'^{key} = ".*"$', line.replace("\\", r"\\"), text, count=1, flags=re.MULTILINE)
    listing = plan(_parsed(text, where).data)
    return NewExperiment(text, f"{len(listing.images)} images")


def _parsed(text: str, where: Path) -> Experiment:
    return parse_experiment(text.encode(), where=where, base=where.parent)


def _counts(data: DataFacts) -> str:
    layers = {"fine labels": data.num_fine, "coarse labels": data.num_coarse, "no label": data.num_unlabelled}
    parts = [f"{count} training images with {layer}" for layer, count in layers.items() if count]
    return ", ".join([*parts, f"{data.num_val} validation images"])
