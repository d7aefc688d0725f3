"""`autolabel why`: one pixel's way from its code to its label."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from autolabel.artifacts import (
    CorrectedLabel,
    coarse_policies,
    labels_meta,
    read_corrected,
    read_label_rules,
    read_manifest,
    read_shard_index,
)
from autolabel.classes import IGNORE
from autolabel.cli.options import Project, echo, experiment_options, json_option, open_project, print_json
from autolabel.cli.steps import Steps
from autolabel.data.loaders import load_label
from autolabel.data.sources.pairing import composed
from autolabel.errors import ConfigError
from autolabel.flow.stage import roots_of
from autolabel.labels.codebook import Codebook
from autolabel.labels.threshold import ThresholdResult, apply_label_rules, apply_threshold, pixel_outcomes
from autolabel.suggest import did_you_mean

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest

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

    IMAGE is an id of the label set, or a file name that only one image has. It reads the codes and the label set that
    lie in the work folder, and corrections that a run has taken in; the teacher may be gone.
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
    return PixelLives(project).of(image, x, y)


class _Maps(NamedTuple):
    """One image; all (H, W)."""

    codes: np.ndarray
    coarse: np.ndarray | None
    result: ThresholdResult
    corrected: np.ndarray | None  # what a student learns from, where people have corrected the image


class PixelLives:
    """The facts of the pixels of one label set; the maps of the last image are kept."""

    def __init__(self, project: Project) -> None:
        steps = Steps(project)
        self._labels, data, self._codes = steps.open_labels()
        corrections = project.experiment.fuse.corrections
        self._fused = None if corrections is None else steps.last_made("fuse", self._labels)
        self._manifest, self._index = read_manifest(data), read_shard_index(self._codes)
        self._roots = roots_of(project.experiment, {"data": data})
        self._meta, self._rules = labels_meta(self._labels), read_label_rules(self._labels)
        self._names = self._manifest.classes.names
        self._policies = coarse_policies(self._meta, len(self._names))
        self._used = [self._meta["thresholds"][name] for name in self._names]
        self._last: tuple[str, _Maps] | None = None

    @cached_property
    def _corrections(self) -> tuple[dict[str, CorrectedLabel], Manifest | None]:
        if self._fused is None:
            return {}, None
        return {row["id"]: row for row in read_corrected(self._fused)}, read_manifest(self._fused)

    @cached_property
    def _files(self) -> dict[str, str]:
        ids = (image_id for shard in self._index.of_split("train") for image_id in shard.ids)
        return {image_id: self._manifest.image(image_id).path for image_id in ids}

    def of(self, name: str, x: int, y: int) -> dict[str, Any]:
        """Raises ConfigError for an image without codes, a name of several images, and a pixel outside."""
        image = image_named(name, self._files)
        if self._last is None or self._last[0] != image:
            self._last = image, self._maps(image)
        maps, book = self._last[1], self._index.book
        height, width = maps.codes.shape
        if x >= width or y >= height:
            raise ConfigError("X,Y", f"{x},{y} lies outside of {image!r}", f"x is below {width} and y below {height}")
        here = np.s_[y : y + 1, x : x + 1]
        code, result = maps.codes[here], maps.result.part(here)
        coarse = None if maps.coarse is None else maps.coarse[here]
        outcome = next(name for name, count in pixel_outcomes(code, result, book.num_codes).items() if count)
        drawn = IGNORE if coarse is None else int(coarse.item())
        return {
            "image": image,
            "x": x,
            "y": y,
            **_predicted(book, code, self._names),
            "coarse": None if coarse is None else _name(self._names, coarse),
            "policy": self._meta["coarse"] if drawn == IGNORE else self._policies[drawn],
            "threshold_on": self._meta["threshold_on"],
            "outcome": outcome,
            "label": _name(self._names, result.labels),
            **_threshold(book, code, self._used, outcome),
            "labels": str(self._labels.data),
            "corrected": self._corrected(image, maps, here),
        }

    def _maps(self, image: str) -> _Maps:
        from autolabel.labels.shards import read_shard

        book, classes = self._index.book, self._manifest.classes
        entry = next(shard for shard in self._index.of_split("train") if image in shard.ids)
        codes = read_shard(self._codes.read(entry.name), where=entry.name).codes(image)
        row = self._manifest.label(image, "coarse") if set(self._policies) != {"off"} else None
        coarse = None if row is None else load_label(row, self._roots, classes)
        lut = book.lut_from_bins([book.bins if value is None else book.lowest_bin(value) for value in self._used])
        if self._rules is None:
            result = apply_threshold(codes, lut, coarse=coarse, policy=self._meta["coarse"])
        else:
            result = apply_label_rules(codes, lut, book, coarse=coarse, rules=self._rules)
        rows, fused = self._corrections
        is_corrected = image in rows and rows[image]["base"] == "auto"  # over another layer these labels do not count
        corrected = fused.label(image, "corrected") if fused is not None and is_corrected else None
        roots = {} if self._fused is None else {"fused": self._fused.data}
        return _Maps(codes, coarse, result, None if corrected is None else load_label(corrected, roots, classes))

    def _corrected(self, image: str, maps: _Maps, here: tuple[slice, slice]) -> dict[str, Any] | None:
        """Who has changed the pixel into what; None where nobody has."""
        if maps.corrected is None or maps.corrected[here] == maps.result.labels[here]:
            return None
        row = self._corrections[0][image]
        label = _name(self._names, maps.corrected[here])
        return {"label": label, "author": row["author"], "time": row["time"], "labels": str(self._fused_path(image))}

    def _fused_path(self, image: str) -> Path:
        fused = self._corrections[1]
        row = None if fused is None else fused.label(image, "corrected")
        assert self._fused is not None
        assert row is not None
        return self._fused.file(row.path)


def image_named(name: str, files: Mapping[str, str]) -> str:
    """The image of an id, of a file, or of the bare name of either; `files` by id. ConfigError unless it is one."""
    if name in files:
        return name
    wanted = composed(name)
    found = [i for i, file in files.items() if _is_named(wanted, composed(i), composed(file))]
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        raise ConfigError("IMAGE", f"{name!r} is the name of {len(found)} images: {shown}", "give one of these")
    hint = did_you_mean(name, files) or "`labels.csv` of the label set lists its images"
    raise ConfigError("IMAGE", f"{name!r} is not among the {len(files)} images that the teacher labelled", hint)


def _is_named(wanted: str, image: str, file: str) -> bool:
    """Whether it is the id, the file, the bare name of either, or a path to the file, as a shell completes it."""
    return wanted in (image, file, PurePosixPath(file).name, PurePosixPath(image).name) or wanted.endswith(f"/{file}")


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
    if life["corrected"] is not None:
        fix = life["corrected"]
        who = [f"by {fix['author']}"] * bool(fix["author"]) + [f"at {fix['time']}"] * bool(fix["time"])
        lines.append(
            f"corrected   {fix['label'] or 'ignored'}, {' '.join(who) or 'by a person'}: students learn this instead"
        )
    return lines


def _threshold_text(life: dict[str, Any]) -> str:
    value = life["threshold"]
    text = "the class keeps no pixel" if value is None else f"{value:g} for {life['class']}"
    return text + (", chosen on calibrated probabilities" if life["threshold_on"] == "calibrated" else "")


COMMANDS = [why]
