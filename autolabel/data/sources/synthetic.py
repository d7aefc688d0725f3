"""Rendered street scenes: no files are read, and the rendered ones are stored in the manifest artefact.

There are three subsets: fine, coarse and val. As in Cityscapes, a town belongs to one subset only, and fine images have
a coarse label too. The fine labels of the coarse subset are hidden truth, so that the audit can measure auto labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autolabel.classes import CLASS_SETS
from autolabel.config.sources import SyntheticConfig
from autolabel.data.sources.base import SourceImage, SourceLabel, SourceListing

_FINE_TOWNS = ("arden", "brookhaven", "cresthill")
_COARSE_TOWNS = ("dunmore", "eastvale", "fairwater", "glenrock", "hartwell")
_VAL_TOWNS = ("ivybridge", "juniper")


def plan(settings: SyntheticConfig) -> SourceListing:
    """List the images that `files` renders; their root is the artefact that will hold them."""
    return SourceListing(Path(), CLASS_SETS["synthetic"], tuple(image for _, image in scenes(settings)))


def scenes(settings: SyntheticConfig) -> Iterator[tuple[int, SourceImage]]:
    """Yield (scene number, image). The scenes of a subset do not depend on the sizes of the others."""
    subsets = (
        (settings.num_fine, "train", _FINE_TOWNS, ("fine", "coarse")),
        (settings.num_coarse, "train", _COARSE_TOWNS, ("coarse", "truth")),
        (settings.num_val, "val", _VAL_TOWNS, ("fine",)),
    )
    for subset, (count, split, towns, roles) in enumerate(subsets):
        for index in range(count):
            town = towns[index % len(towns)]
            yield index * len(subsets) + subset, _image(f"{town}_{index:06}", split, town, roles)


def _image(image_id: str, split: str, town: str, roles: tuple[str, ...]) -> SourceImage:
    labels = tuple(SourceLabel(role, "train_ids", f"{role}/{image_id}.png") for role in roles)
    return SourceImage(image_id, split, town, f"images/{image_id}.png", labels)


def files(settings: SyntheticConfig, number: int, image: SourceImage) -> dict[str, bytes]:
    """Path -> PNG bytes of one scene's image and its label maps; the same settings give the same bytes."""
    from autolabel.labels.png import encode
    from autolabel.labels.visualize import image_png
    from streetscenes import render

    scene = render(settings.seed, number, size=settings.size)
    maps = {"fine": scene.fine, "coarse": scene.coarse, "truth": scene.fine}
    return {image.path: image_png(scene.image)} | {label.path: encode(maps[label.role]) for label in image.labels}
