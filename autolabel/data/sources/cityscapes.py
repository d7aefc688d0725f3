"""Cityscapes as published (Cordts et al. 2016; layout of cityscapesScripts).

    leftImg8bit/SPLIT/CITY/ID_leftImg8bit.png   gtFine/SPLIT/CITY/ID_gtFine_labelIds.png   gtCoarse/... likewise

The splits train and val have fine labels. A split that the experiment declares coarse is used with its coarse labels
only, and the teacher labels it; its fine labels, if any, are hidden truth for the audit. The test split has no public
labels and is left out.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from autolabel.classes import CLASS_SETS
from autolabel.config.sources import CityscapesConfig
from autolabel.data.sources.base import SourceImage, SourceLabel, SourceListing, raise_if_any
from autolabel.data.sources.listing import by_stem, require_folder
from autolabel.resources import resource

_IMAGES = "leftImg8bit"
_REMEDY = "data.root must hold leftImg8bit/, gtFine/ and, for coarse splits, gtCoarse/ as published"


def plan(settings: CityscapesConfig) -> SourceListing:
    """List the images. Raises DataError for a missing folder, and for an image or label without its counterpart."""
    bad = {
        row["id"]: row["reason"]
        for row in tomllib.loads(resource("data_manifest", "known_bad.toml").decode())["cityscapes"]
    }
    images: list[SourceImage] = []
    for split in ("train", "val", "train_extra"):
        if split in settings.coarse:
            images += _coarse_split(settings.root, split)
        elif split != "train_extra":
            images += _fine_split(settings.root, split)
    return SourceListing(
        root=settings.root,
        classes=CLASS_SETS["cityscapes"],
        images=tuple(image for image in images if image.id not in bad),
        excluded=tuple((image.id, bad[image.id]) for image in images if image.id in bad),
    )


def _fine_split(root: Path, split: str) -> list[SourceImage]:
    images = _image_files(root, split)
    fine = _labels(root, "gtFine", split, images, needed=True)
    coarse = _labels(root, "gtCoarse", split, images, needed=False) if split == "train" else {}
    return _source_images(split, split, images, {"fine": fine, "coarse": coarse})


def _coarse_split(root: Path, split: str) -> list[SourceImage]:
    images = _image_files(root, split)
    coarse = _labels(root, "gtCoarse", split, images, needed=True)
    truth = _labels(root, "gtFine", split, images, needed=False)
    return _source_images(split, "train", images, {"coarse": coarse, "truth": truth})


def _source_images(
    folder: str, split: str, images: dict[str, str], layers: dict[str, dict[str, str]]
) -> list[SourceImage]:
    return [
        SourceImage(
            id=stem.rpartition("/")[2],
            split=split,
            group=stem.rpartition("/")[0],  # the city
            path=path,
            labels=tuple(SourceLabel(role, "ids", paths[stem]) for role, paths in layers.items() if stem in paths),
        )
        for stem, path in images.items()
    ]


def _image_files(root: Path, split: str) -> dict[str, str]:
    """`CITY/ID` -> path below root."""
    folder = require_folder(root / _IMAGES / split, _REMEDY)
    return _with_suffix(folder, "_leftImg8bit", f"{_IMAGES}/{split}")


def _with_suffix(folder: Path, ending: str, prefix: str) -> dict[str, str]:
    files = by_stem(folder, (".png",))
    return {stem.removesuffix(ending): f"{prefix}/{path}" for stem, path in files.items() if stem.endswith(ending)}


def _labels(root: Path, layer: str, split: str, images: dict[str, str], *, needed: bool) -> dict[str, str]:
    """`CITY/ID` -> path below root of the labelIds file."""
    folder = root / layer / split
    if not needed and not folder.is_dir():
        return {}
    labels = _with_suffix(require_folder(folder, _REMEDY), f"_{layer}_labelIds", f"{layer}/{split}")
    raise_if_any(set(labels) - set(images), folder, f"labels without an image in {_IMAGES}/{split}", "add the images")
    missing = set(images) - set(labels) if needed else set()
    if missing & set(_with_suffix(folder, f"_{layer}_labelTrainIds", "")):
        remedy = "add the published *_labelIds.png files; *_labelTrainIds.png are not read"
        raise_if_any(missing, folder, "images without a labelIds file", remedy)
    raise_if_any(missing, folder, "images without a label", f"add *_{layer}_labelIds.png or remove the images")
    return labels
