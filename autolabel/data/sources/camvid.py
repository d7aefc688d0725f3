"""CamVid as the SegNet tutorial lays it out, with a list of names for each part of it.

    train/NAME.jpg  trainannot/NAME.png  trainannot_coarse/NAME.png  val/NAME.jpg  valannot/NAME.png
    fine.txt  coarse.txt  val.txt

Names in the coarse list are labelled coarsely only; their fine label, if it is there, is hidden truth for the audit.
"""

from __future__ import annotations

from pathlib import Path

from autolabel.classes import CLASS_SETS
from autolabel.config.schema import CamVidConfig
from autolabel.data.sources.base import SourceImage, SourceLabel, SourceListing, raise_if_any
from autolabel.data.sources.listing import IMAGE_SUFFIXES, by_stem, read_names, require_folder

# list -> (image folder, split, (label folder, role, must be there))
_Layer = tuple[str, str, bool]
_FINE: tuple[_Layer, ...] = (("trainannot", "fine", True), ("trainannot_coarse", "coarse", False))
_COARSE: tuple[_Layer, ...] = (("trainannot_coarse", "coarse", True), ("trainannot", "truth", False))
_VAL: tuple[_Layer, ...] = (("valannot", "fine", True),)


def plan(settings: CamVidConfig) -> SourceListing:
    """Raises DataError for a missing folder, list, image or label, and for a name in two lists."""
    images = (
        *_part(settings.root, settings.fine, "train", _FINE),
        *_part(settings.root, settings.coarse, "train", _COARSE),
        *_part(settings.root, settings.val, "val", _VAL),
    )
    return SourceListing(settings.root, CLASS_SETS["camvid"], images)


def _part(root: Path, list_name: str, split: str, layers: tuple[_Layer, ...]) -> tuple[SourceImage, ...]:
    names = read_names(root / list_name, f"data.root must hold a list of names {list_name!r}")
    if not names:
        return ()
    pictures = by_stem(require_folder(root / split, "data.root must hold it"), IMAGE_SUFFIXES)
    raise_if_any(set(names) - set(pictures), root / split, f"no image for names in {list_name}", "correct the list")
    labels = {folder: _labels(root / folder, names, needed) for folder, _, needed in layers}
    return tuple(
        SourceImage(
            id=name,
            split=split,
            group=_sequence(name, split),
            path=f"{split}/{pictures[name]}",
            labels=tuple(
                SourceLabel(role, "ids", f"{folder}/{labels[folder][name]}")
                for folder, role, _ in layers
                if name in labels[folder]
            ),
        )
        for name in names
    )


def _labels(folder: Path, names: list[str], needed: bool) -> dict[str, str]:
    if not needed and not folder.is_dir():
        return {}
    labels = by_stem(require_folder(folder, "data.root must hold it"), (".png",))
    if needed:
        raise_if_any(set(names) - set(labels), folder, "no label PNG for listed images", "add it or correct the list")
    return labels


def _sequence(name: str, default: str) -> str:
    """`0001TP` of `0001TP_006690`: neighbours in a sequence look alike and belong together."""
    head, mark, _ = name.partition("_")
    return head if mark else default
