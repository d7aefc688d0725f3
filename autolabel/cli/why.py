"""`autolabel why`: one pixel's way from its code to its label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from autolabel.artifacts import (
    ShardIndex,
    coarse_policies,
    labels_meta,
    read_label_rules,
    read_manifest,
    read_shard_index,
)
from autolabel.classes import IGNORE
from autolabel.cli.options import Project, echo, experiment_options, json_option, open_project, print_json
from autolabel.cli.steps import Steps
from autolabel.data.loaders import load_label
from autolabel.errors import ConfigError
from autolabel.flow.stage import roots_of
from autolabel.labels.codebook import Codebook
from autolabel.labels.threshold import apply_label_rules, apply_threshold, pixel_outcomes
from autolabel.store import Artefact
from autolabel.suggest import did_you_mean

_OUTCOMES = {
    "kept": "kept: the teacher's class, above its threshold",
    "filled": 'filled: a person drew this class, and the policy "fill" takes it',
    "low_confidence": "ignored: the probability is not above the threshold of the class",
    "veto": "ignored: a person drew another class, and the policy ignores such pixels",
    "no_prediction": "ignored: the teacher made no prediction here",
    "confirmed": "kept: the teacher's class below its threshold, confirmed by what a person drew",
    "unconfirmed": 'ignored: its class has the policy "agree", and no person drew it here',
    "border": "ignored: it lies along the border of a coarse polygon (label.coarse_border)",
    "small": "ignored: its region is smaller than label.min_region allows",
    "ego": "ignored: the camera sees its own vehicle here (label.ego_mask)",
}


@click.command()
@experiment_options
@click.argument("image")
@click.argument("pixel", metavar="X,Y")
@json_option
def why(experiment: Path, work: Path | None, overrides: tuple[str, ...], image: str, pixel: str, as_json: bool) -> None:
    """Say why the pixel X,Y (from the left, from the top, from 0) of IMAGE has the label that it has.

    It reads the codes and the label set that lie in the work folder; the teacher may be gone.
    """
    x, y = _position(pixel)
    project = open_project(experiment, work=work, overrides=overrides)
    life = pixel_life(project, image, x, y)
    if as_json:
        print_json(life)
        return
    for line in _lines(life):
        echo(line)


def _position(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.isdecimal() and part.isascii() and len(part) < 7 for part in parts):
        raise click.BadParameter(f"{text!r} is not of the form X,Y, e.g. 120,64")
    return int(parts[0]), int(parts[1])


def pixel_life(project: Project, image: str, x: int, y: int) -> dict[str, Any]:
    """The facts of one pixel, from the codes, the coarse label and the settings that the label set was cut with."""
    labels, data, codes = Steps(project).open_labels()
    manifest, index, meta = read_manifest(data), read_shard_index(codes), labels_meta(labels)
    names = manifest.classes.names
    codes_of_image = _codes(codes, index, image, x, y)
    code = codes_of_image[y : y + 1, x : x + 1]
    policies, rules = coarse_policies(meta, len(names)), read_label_rules(labels)
    row = manifest.label(image, "coarse") if set(policies) != {"off"} else None
    roots = roots_of(project.experiment, {"data": data})
    drawn = None if row is None else load_label(row, roots, manifest.classes)
    here = np.s_[y : y + 1, x : x + 1]
    coarse = None if drawn is None else drawn[here]
    used = [meta["thresholds"][name] for name in names]
    lowest = [index.book.bins if value is None else index.book.lowest_bin(value) for value in used]
    lut = index.book.lut_from_bins(lowest)
    if rules is None:
        result = apply_threshold(code, lut, coarse=coarse, policy=meta["coarse"])
    else:  # borders and regions need the whole image
        whole = apply_label_rules(codes_of_image, lut, index.book, coarse=drawn, rules=rules)
        result = whole.part(here)
    outcomes = pixel_outcomes(code, result, index.book.num_codes)
    outcome = next(name for name, count in outcomes.items() if count)
    return {
        "image": image,
        "x": x,
        "y": y,
        **_predicted(index.book, code, names),
        "coarse": None if coarse is None else _name(names, coarse),
        "policy": meta["coarse"] if coarse is None or coarse.item() == IGNORE else policies[int(coarse.item())],
        "threshold_on": meta["threshold_on"],
        "outcome": outcome,
        "label": _name(names, result.labels),
        **_threshold(index.book, code, used, outcome),
        "labels": str(labels.data),
    }


def _predicted(book: Codebook, code: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    classes, bins = book.classes_and_bins(code)
    limits = [0.0, *book.edges, 1.0]
    valid = classes.item() != IGNORE
    return {
        "class": _name(names, classes),
        "above": limits[bins.item()] if valid else None,
        "at_most": limits[bins.item() + 1] if valid else None,
        "second": _name(names, book.second_classes(code)) if book.second_below else None,
    }


def _threshold(book: Codebook, code: np.ndarray, used: list[float | None], outcome: str) -> dict[str, Any]:
    """The threshold in use, and the one that would change the outcome: the highest that keeps or lowest that drops."""
    classes, bins = (part.item() for part in book.classes_and_bins(code))
    if classes == IGNORE:
        return {"threshold": None, "keeps_up_to": None, "drops_from": None}
    edges = [0.0, *book.edges]
    drops = edges[bins + 1] if bins + 1 < len(edges) else None
    changes = outcome in ("kept", "low_confidence")
    return {
        "threshold": used[classes],
        "keeps_up_to": edges[bins] if changes and outcome != "kept" else None,
        "drops_from": drops if changes and outcome == "kept" else None,
    }


def _name(names: tuple[str, ...], value: np.ndarray) -> str | None:
    index = int(value.item())
    return names[index] if index < len(names) else None


def _codes(codes: Artefact, index: ShardIndex, image: str, x: int, y: int) -> np.ndarray:
    """(H, W) codes. Raises ConfigError for an image without codes and a pixel outside of it."""
    from autolabel.labels.shards import read_shard

    entry = next((shard for shard in index.of_split("train") if image in shard.ids), None)
    if entry is None:
        ids = [image_id for shard in index.of_split("train") for image_id in shard.ids]
        hint = did_you_mean(image, ids) or "`labels.csv` of the label set lists its images"
        raise ConfigError("IMAGE", f"{image!r} is not among the {len(ids)} images that the teacher labelled", hint)
    whole = read_shard(codes.read(entry.name), where=entry.name).codes(image)
    height, width = whole.shape
    if x >= width or y >= height:
        raise ConfigError("X,Y", f"{x},{y} lies outside of {image!r}", f"x is below {width} and y below {height}")
    return whole


def _lines(life: dict[str, Any]) -> list[str]:
    lines = [f"{life['image']} at x = {life['x']}, y = {life['y']}"]
    if life["class"] is None:
        lines.append("teacher     no prediction")
    else:
        at_most = f"at most {life['at_most']:g}"
        above = f"above {life['above']:g}, " if life["above"] else ""
        lines.append(f"teacher     {life['class']}, with a probability {above}{at_most}")
    if life["second"] is not None:
        lines.append(f"second      {life['second']}")
    lines.append(f'coarse      {life["coarse"] or "nothing drawn here"} (policy "{life["policy"]}")')
    if life["class"] is not None:
        lines.append(f"threshold   {_threshold_text(life)}")
    lines.append(f"label       {life['label'] or 'ignored'}")
    lines.append(f"because     {_OUTCOMES[life['outcome']]}")
    if life["outcome"] == "low_confidence":
        lines.append(f"to keep it  a threshold of {life['keeps_up_to']:g} or lower for {life['class']}")
    if life["outcome"] == "kept":
        drops = life["drops_from"]
        text = "no threshold ignores it" if drops is None else f"a threshold of {drops:g} or higher for {life['class']}"
        lines.append(f"to drop it  {text}")
    return lines


def _threshold_text(life: dict[str, Any]) -> str:
    value = life["threshold"]
    text = "the class keeps no pixel" if value is None else f"{value:g} for {life['class']}"
    return text + (", chosen on calibrated probabilities" if life["threshold_on"] == "calibrated" else "")


COMMANDS = [why]
