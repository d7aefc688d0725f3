"""CamVid in the layout of the SegNet tutorial, with three lists of image names.

    train/NAME.jpg  trainannot/NAME.png  trainannot_coarse/NAME.png  val/NAME.jpg  valannot/NAME.png
    fine.txt  coarse.txt  val.txt

Images in the coarse list are used with coarse labels only; a fine label, if there is one, is hidden truth for the
audit.
"""

from __future__ import annotations

from pathlib import Path

from autolabel.classes import CLASS_SETS
from autolabel.config.sources import CamVidConfig
from autolabel.data.sources.base import SourceImage, SourceLabel, SourceListing, raise_if_any
from autolabel.data.sources.listing import IMAGE_SUFFIXES, by_stem, read_names, require_folder

_Layer = tuple[str, str, bool]  # label folder, role, whether every image must have one
_FINE: tuple[_Layer, ...] = (("trainannot", "fine", True), ("trainannot_coarse", "coarse", False))
_COARSE: tuple[_Layer, ...] = (("trainannot_coarse", "coarse", True), ("trainannot", "truth", False))
_VAL: tuple[_Layer, ...] = (("valannot", "fine", True),)


def plan(settings: CamVidConfig) -> SourceListing:
    """List the images. Raises DataError for a missing folder, list, image or label, and for a name in two lists."""
    images = (
        *_listed_images(settings.root, settings.fine, "train", _FINE),
        *_listed_images(settings.root, settings.coarse, "train", _COARSE),
        *_listed_images(settings.root, settings.val, "val", _VAL),
    )
    return SourceListing(settings.root, CLASS_SETS["camvid"], images)


def _listed_images(root: Path, list_name: str, split: str, layers: tuple[_Layer, ...]) -> tuple[SourceImage, ...]:
    names = read_names(root / list_name, f"data.root must hold a list of names {list_name!r}")
    if not names:
        return ()
    files = by_stem(require_folder(root / split, "data.root must hold it"), IMAGE_SUFFIXES)
    raise_if_any(set(names) - set(files), root / split, f"no image for names in {list_name}", "correct the list")
    labels = {folder: _labels(root / folder, names, needed) for folder, _, needed in layers}
    return tuple(
        SourceImage(
            id=name,
            split=split,
            group=_sequence(name, split),
            path=f"{split}/{files[name]}",
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
    """The sequence of an image: `0001TP` for `0001TP_006690`. Its frames look alike and belong together."""
    head, mark, _ = name.partition("_")
    return head if mark else default
