"""Settings of the data sources: the table `[data]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from autolabel.config.base import Config, Fraction, NonNegativeInt, PositiveInt

Doubt = Literal[
    "binary_masks", "shifted_ids", "train_ids", "mostly_ignored", "void_class", "smoothed_masks", "leaking_split"
]


class SourceConfig(Config):
    """Settings of every data source."""

    toml_table = "data"

    max_pixels: PositiveInt = 64_000_000  # Images with more pixels are refused before they are decoded.
    # Up to this many unusable images are quarantined; with more, no manifest is written.
    max_bad: NonNegativeInt = 0
    # Pixels that masks are drawn on where an image has an EXIF orientation: "shown", as viewers turn it, or "stored".
    # By default the sizes decide; where they cannot, the run ends and asks.
    mask_orientation: Literal["shown", "stored"] | None = None
    # Doubtful findings of `autolabel check-data` that are right for this data; others end a run.
    confirmed: tuple[Doubt, ...] = ()


class SyntheticConfig(SourceConfig):
    """Procedural street scenes."""

    source: Literal["synthetic"]
    seed: NonNegativeInt = 0  # The seed of the scenes.
    size: tuple[PositiveInt, PositiveInt] = (128, 256)  # Height and width of an image in pixels.
    num_fine: PositiveInt = 24  # Number of training images with fine labels.
    num_coarse: NonNegativeInt = 96  # Number of training images with coarse labels only, which the teacher labels.
    num_val: PositiveInt = 24  # Number of validation images.


class CamVidConfig(SourceConfig):
    """CamVid in the folders train, val, trainannot, valannot and trainannot_coarse, with three lists of image names."""

    source: Literal["camvid"]
    root: Path  # The folder of the data set.
    fine: str = "fine.txt"  # The list of training images with fine labels.
    coarse: str = "coarse.txt"  # The list of training images with coarse labels only, which the teacher labels.
    val: str = "val.txt"  # The list of validation images.


class CityscapesConfig(SourceConfig):
    """Cityscapes as published: the folders leftImg8bit, gtFine and gtCoarse."""

    source: Literal["cityscapes"]
    root: Path  # The folder of the data set.
    # Splits that are used with their coarse labels only; the teacher labels their images.
    coarse: tuple[Literal["train", "val", "train_extra"], ...] = ("train_extra",)


class MapillaryConfig(SourceConfig):
    """Mapillary Vistas as published."""

    source: Literal["mapillary"]
    root: Path  # The folder of the data set.
    version: Literal["v1.2", "v2.0"] = "v2.0"  # The version of the labels.
    # Splits whose images the teacher labels; their own labels, if any, are only used to audit it.
    unlabelled: tuple[Literal["training", "validation", "testing"], ...] = ("testing",)


class FolderConfig(SourceConfig):
    """Your own data: images, masks of class ids or colours, optional coarse masks, and a class file.

    Folders of images named train, val or test (training, valid, validation, testing) are the splits. Without a val
    folder, a fraction of the training images with a mask is held out for validation.
    """

    added_later = frozenset({"needs_masks"})

    source: Literal["folder"]
    root: Path  # The folder that the other paths are relative to.
    images: str = "images"  # The folder of the images; those without a mask are labelled by the teacher.
    masks: str = "masks"  # The folder of the masks.
    # false: no training image needs a mask, because a teacher of another framework labels them.
    needs_masks: bool = True
    coarse: str = "coarse"  # The folder of the coarse masks, if there are any.
    classes: str = "classes.toml"  # The class file.
    # Path of an image below `images`, with or without a suffix: {stem} is what its name has in common with its masks,
    # {path} stands for the folders. Example: "{path}/{stem}_leftImg8bit".
    image_name: str = "{path}/{stem}"
    # Path of a mask below `masks` or `coarse`, likewise. Examples: "{path}/{stem}_mask.png", "{stem}_gt".
    mask_name: str = "{path}/{stem}"
    # Values in masks: "ids" in grey masks, "indices" of palette masks, or "colours" of the class file.
    mask_values: Literal["ids", "indices", "colours"] = "ids"
    # Splits of folders below `images` that no name tells: { "batch 1" = "train", "holdout" = "test" }; "." is `images`.
    splits: dict[str, Literal["train", "val", "test"]] = Field(default_factory=dict)
    val_share: Fraction = 0.2  # Fraction of the images with a mask that is held out, chosen by a digest of their names.


Data = Annotated[
    SyntheticConfig | CamVidConfig | CityscapesConfig | MapillaryConfig | FolderConfig, Field(discriminator="source")
]
