"""The settings of the data that its folders call for, and a first look at its masks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.config.load import is_utf8, toml_literal
from autolabel.config.sources import Data
from autolabel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from autolabel.data.build import ScanResult

_LOOKED_AT = 64  # images with masks that `init` opens; a run opens all
# Folders of images and masks in published layouts: BDD100K, ADE20K, PASCAL VOC, MMSegmentation, and usual names.
_LAYOUTS = (
    ("images/10k", "labels/sem_seg/masks"),
    ("images", "annotations"),
    ("JPEGImages", "SegmentationClass"),
    ("img_dir", "ann_dir"),
    ("images", "labels"),
)


def data_settings(source: str, root: Path, overrides: tuple[str, ...], *, masks_needed: bool = True) -> list[str]:
    """Lines for the table [data]: those of --set, and those that the folders call for."""
    lines = [] if masks_needed or source != "folder" else ["needs_masks = false"]
    lines += _layout(source, root)
    for override in overrides:
        key, separator, value = override.partition("=")
        table, _, setting = key.strip().partition(".")
        if table != "data" or not separator or not re.fullmatch("[a-z_]+", setting) or setting in ("source", "root"):
            remedy = "edit other settings in the file, once it is written"
            what = (
                "init takes settings of the data, data.KEY=VALUE, and with --teacher also "
                "teacher.foreign.KEY=VALUE and teacher.class_map={...}"
            )
            raise ConfigError(f"--set {override}", what, remedy)
        if not is_utf8(override):
            raise ConfigError(f"--set {override}", "is not UTF-8 text", "retype it, or rename the folder")
        lines.append(f"{setting} = {toml_literal(value)}")
    return lines


def _layout(source: str, root: Path) -> list[str]:
    """Settings for folders of other names than the usual ones; later lines of the same key replace them."""
    if source == "cityscapes" and not (root / "leftImg8bit" / "train_extra").is_dir():
        return ["coarse = []"]
    if source != "folder" or (root / "masks").is_dir():
        return []
    found = (pair for pair in _LAYOUTS if all((root / folder).is_dir() for folder in pair))
    images, masks = next(found, ("images", "masks"))
    return [f'images = "{images}"', f'masks = "{masks}"'] if masks != "masks" else []


def with_settings(text: str, lines: Sequence[str]) -> str:
    """An experiment with these lines in its table [data], in place of lines of the same keys."""
    for line in lines:
        text = _with_setting(text, line)
    return text


def _with_setting(text: str, line: str) -> str:
    head, mark, rest = text.partition("[data]\n")
    table, end, others = rest.partition("\n[")
    key = line.partition(" = ")[0]
    lines = [old for old in table.split("\n") if not old.startswith(f"{key} = ")]
    while lines and not lines[-1]:
        lines.pop()
    return head + mark + "\n".join([*lines, line]) + "\n" + end + others


def look_at(data: Data) -> ScanResult:
    """List the source and open some of its masks: mistakes show here, not after an hour.

    Raises DataError for a certain mistake; a run asks about the doubtful ones.
    """
    from autolabel.data.build import scan
    from autolabel.data.findings import raise_findings

    seen = scan(data, quiet=True, labelled_only=_LOOKED_AT)
    raise_findings([finding for finding in seen.findings if finding.level == "error"])
    bad, good = len(seen.quarantined), len(seen.images)
    if bad > data.max_bad and bad > good:
        raise DataError("data", f"{bad} of {bad + good} images with masks cannot be used", seen.quarantined[0][2])
    return seen
