"""Your own data: a folder of images, one of masks of the same names, and a class file.

    images/**/NAME.jpg   masks/**/NAME.png   coarse/**/NAME.png (optional)   classes.toml

Masks are 8-bit greyscale PNGs of class ids. The teacher labels the images without a mask. An image's id is its path
below the image folder without the suffix. Labels of autolabel may be masks too: `label_sets` says how they are read.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from autolabel.classes import ClassSet, parse_class_file
from autolabel.config.sources import FolderConfig
from autolabel.data.schema import unsafe_path
from autolabel.data.sources.base import SourceImage, SourceLabel, SourceListing, raise_if_any
from autolabel.data.sources.label_sets import Mask, with_statements
from autolabel.data.sources.listing import IMAGE_SUFFIXES, by_stem, require_folder
from autolabel.errors import ConfigError, DataError, LabelError
from autolabel.labels.label_set import CLASSES, FOLDER
from autolabel.user_files import read_text

_SPLITS = ("train", "val", "test")


def plan(settings: FolderConfig) -> SourceListing:
    """List the images.

    Raises DataError for a missing folder or a mask without its image, ConfigError for a wrong setting.
    """
    root = settings.root
    _check_folders(settings)
    image_folder = require_folder(root / settings.images, "put the images there or set data.images")
    files = by_stem(image_folder, IMAGE_SUFFIXES)
    require_folder(root / settings.masks, "put the masks there or set data.masks")
    if settings.coarse != FolderConfig.model_fields["coarse"].default:
        require_folder(root / settings.coarse, "put the coarse masks there or correct data.coarse")
    classes = _classes(settings)
    masks, coarse = (_masks(settings, folder, files, classes) for folder in (settings.masks, settings.coarse))
    splits = _splits(files, masks, settings)
    images = tuple(
        SourceImage(
            id=name,
            split=splits[name],
            group=_group(name),
            path=f"{settings.images}/{path}",
            labels=_labels(name, {"fine": masks, "coarse": coarse}),
        )
        for name, path in files.items()
    )
    return SourceListing(root, classes, images)


def _check_folders(settings: FolderConfig) -> None:
    folders = {"images": settings.images, "masks": settings.masks, "coarse": settings.coarse}
    for key, folder in folders.items():
        unsafe = unsafe_path(folder)
        if unsafe is not None:
            raise ConfigError(f"data.{key}", f"{folder!r} {unsafe}", "name a folder below data.root, such as 'images'")
    for key in ("masks", "coarse"):
        if PurePosixPath(folders[key]).is_relative_to(settings.images):
            raise ConfigError(
                f"data.{key}", "lies inside data.images", "masks would be taken for images: move them out"
            )


def _classes(settings: FolderConfig) -> ClassSet:
    file = settings.root / settings.classes
    return parse_class_file(read_text(file, DataError, 'write one: names = ["road", "car", ...]'), file)


def _masks(settings: FolderConfig, folder: str, files: dict[str, str], classes: ClassSet) -> dict[str, Mask]:
    """Image id -> mask."""
    root = settings.root
    if not (root / folder).is_dir():
        return {}
    masks = by_stem(root / folder, IMAGE_SUFFIXES)
    other = next((path for path in masks.values() if not path.lower().endswith(".png")), None)
    if other is not None:
        raise LabelError(
            root / folder / other, "is no PNG, so it cannot be a mask", "store class ids as 8-bit greyscale PNG"
        )
    read = with_statements(root, folder, masks, classes, root / settings.classes)
    remedy = "a mask is named as its image"
    if (root / folder / FOLDER / CLASSES).is_file():
        remedy = f"this is a whole label set, and its masks are in {FOLDER}/: name {folder}/{FOLDER} instead"
    raise_if_any(set(read) - set(files), root / folder, "masks without an image", remedy)
    return read


def _labels(name: str, layers: dict[str, dict[str, Mask]]) -> tuple[SourceLabel, ...]:
    found = ((role, masks[name]) for role, masks in layers.items() if name in masks)
    return tuple(SourceLabel(role, mask.encoding, mask.path) for role, mask in found)


def _splits(files: dict[str, str], masks: dict[str, Mask], settings: FolderConfig) -> dict[str, str]:
    """Id -> split: by the folders train/ and val/ if both exist, else a fraction of the images with masks is val."""
    tops = {name: name.split("/")[0] for name in files if "/" in name}
    if {"train", "val"} <= set(tops.values()):
        splits = {name: tops[name] if tops.get(name) in _SPLITS else "train" for name in files}
        no_mask = {name for name, split in splits.items() if split == "val" and name not in masks}
        raise_if_any(
            no_mask, settings.root / settings.images, "val images without a mask", "add the masks or move them to train"
        )
        return splits
    held_out = _held_out(list(masks), settings.val_share)
    return {name: "val" if name in held_out else "train" for name in files}


def _held_out(names: list[str], fraction: float) -> set[str]:
    """The names whose digests come first: this order is the same everywhere and unrelated to the images.

    A positive fraction holds out at least one name, and at least one is left for training.
    """
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
    count = max(1, round(fraction * len(names))) if fraction > 0 else 0
    return set(ordered[: min(count, len(names) - 1)]) if names else set()


def _group(name: str) -> str:
    return name.rpartition("/")[0]
