"""Mapillary Vistas v1.2 and v2.0 as published (Neuhold et al. 2017).

    config_v2.0.json   {training,validation,testing}/images/ID.jpg   {training,validation}/v2.0/labels/ID.png

Version 1.2 has the same layout, or its first one: config.json and {training,validation}/labels/ID.png. Label files are
palette PNGs whose indices are positions in the `labels` list of the config file.
"""

from __future__ import annotations

import json
from pathlib import Path

from autolabel.classes import ClassSet, mapillary_classes
from autolabel.config.sources import MapillaryConfig
from autolabel.data.sources.base import SourceImage, SourceLabel, SourceListing, raise_if_any
from autolabel.data.sources.listing import IMAGE_SUFFIXES, by_stem, require_folder
from autolabel.errors import DataError
from autolabel.user_files import read_text

_SPLITS = {"training": "train", "validation": "val", "testing": "test"}
_REMEDY = "data.root must hold Mapillary Vistas as published, in the version data.version names"


def plan(settings: MapillaryConfig) -> SourceListing:
    """List the images.

    Raises DataError for a missing folder or config, an image without its label, or a label without its image.
    """
    images: list[SourceImage] = []
    for split in _SPLITS:
        if split in settings.unlabelled:
            images += _images(settings, split, "train", "truth")
        elif split != "testing":
            images += _images(settings, split, _SPLITS[split], "fine")
    return SourceListing(settings.root, _classes(settings), tuple(images))


def _classes(settings: MapillaryConfig) -> ClassSet:
    file = settings.root / f"config_{settings.version}.json"
    if not file.is_file() and settings.version == "v1.2":
        file = settings.root / "config.json"
    try:
        return mapillary_classes(json.loads(read_text(file, DataError, _REMEDY)), file)
    except (ValueError, RecursionError) as error:
        raise DataError(file, f"not valid JSON: {error}", _REMEDY) from error


def _images(settings: MapillaryConfig, folder: str, split: str, role: str) -> list[SourceImage]:
    """The images of one published split; with role fine, every image must have a label."""
    root = settings.root
    files = by_stem(require_folder(root / folder / "images", _REMEDY), IMAGE_SUFFIXES)
    label_folder = _label_folder(root, folder, settings.version)
    labels: dict[str, str] = {}
    if role == "fine" or (root / label_folder).is_dir():
        labels = by_stem(require_folder(root / label_folder, _REMEDY), (".png",))
        raise_if_any(set(labels) - set(files), root / label_folder, "labels without an image", "add the images")
    if role == "fine":
        raise_if_any(set(files) - set(labels), root / label_folder, "images without a label", "add the labels")
    return [
        SourceImage(
            id=name,
            split=split,
            group=folder,
            path=f"{folder}/images/{path}",
            labels=(SourceLabel(role, "palette_ids", f"{label_folder}/{labels[name]}"),) if name in labels else (),
        )
        for name, path in files.items()
    ]


def _label_folder(root: Path, split: str, version: str) -> str:
    published = f"{split}/{version}/labels"
    first_layout = f"{split}/labels"  # holds v1.x labels, never v2.0
    if version == "v1.2" and not (root / published).is_dir():
        return first_layout
    return published
