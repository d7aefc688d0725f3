"""The parts of a manifest that stages read: its images by split and its labels by split and role, each with a digest.

    classes            the class list
    train.unlabelled   images that the teacher labels: those of split train without a fine label
    val.images         all images of split val
    train.fine, ...    the labels of one split and role, with their images

A stage's key holds the digests of the parts that it reads: an image without labels leaves the teacher's key as it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

from autolabel.data.schema import ROLES, SPLITS
from autolabel.store.files import digest_json, digest_json_list

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest, RowPairs
    from autolabel.data.rows import Rows
    from autolabel.data.schema import ImageRow
    from autolabel.data.sources.base import SourceListing

CLASSES, UNLABELLED, VAL_IMAGES = "classes", "train.unlabelled", "val.images"

Files = tuple[str | None, ...]  # the image's group, and digests of the image and its mask; None: not known
Contents = dict[str, dict[str, Files]]  # part -> image id -> files


def label_part(split: str, role: str) -> str:
    return f"{split}.{role}"


def part_digests(manifest: Manifest) -> dict[str, str]:
    """The digest of every part that is not empty. It covers all columns of the part's rows."""
    digests = {part: digest_json_list(map(astuple, rows)) for part, rows in _image_parts(manifest).items()}
    for part, pairs in _label_parts(manifest).items():
        digests[part] = digest_json_list([astuple(image), astuple(label)] for image, label in pairs)
    return {CLASSES: digest_json(manifest.classes.to_dict()), **{part: digests[part] for part in sorted(digests)}}


def manifest_contents(manifest: Manifest) -> Contents:
    """The files of each part. A mask that was converted has no digest of the user's file."""
    contents: Contents = {CLASSES: {"": (digest_json(manifest.classes.to_dict()),)}}
    for part, rows in _image_parts(manifest).items():
        contents[part] = {row.id: (row.group, row.sha256) for row in rows}
    for part, pairs in _label_parts(manifest).items():
        contents[part] = {
            image.id: (image.group, image.sha256, label.sha256 if label.root == "source" else None)
            for image, label in pairs
        }
    return contents


def _image_parts(manifest: Manifest) -> dict[str, Rows[ImageRow]]:
    """The parts of images alone that are not empty."""
    from autolabel.data.manifest import unlabelled_images

    found = {UNLABELLED: unlabelled_images(manifest), VAL_IMAGES: manifest.split("val")}
    return {part: rows for part, rows in found.items() if rows}


def _label_parts(manifest: Manifest) -> dict[str, RowPairs]:
    """The parts of labels that are not empty, each with its images."""
    from autolabel.data.manifest import labelled_images

    found = {label_part(*names): labelled_images(manifest, *names) for names in product(SPLITS, ROLES)}
    return {part: pairs for part, pairs in found.items() if pairs}


def listing_contents(listing: SourceListing, digests: Mapping[str, str | None]) -> Contents:
    """As `manifest_contents`, before the files are opened; `digests` of the files by their path."""
    contents: Contents = defaultdict(dict, {CLASSES: {"": (digest_json(listing.classes.to_dict()),)}})
    for image in listing.images:
        for part in _parts_of(image.split, has_fine=any(label.role == "fine" for label in image.labels)):
            contents[part][image.id] = (image.group, digests[image.path])
        for label in image.labels:
            files = image.group, digests[image.path], digests[label.path]
            contents[label_part(image.split, label.role)][image.id] = files
    return contents


def _parts_of(split: str, *, has_fine: bool) -> Iterable[str]:
    if split == "train" and not has_fine:
        yield UNLABELLED
    if split == "val":
        yield VAL_IMAGES


@dataclass(frozen=True)
class PartChange:
    """How many images or masks of a part were added, removed and changed; `unknown`: and those that may have."""

    part: str
    added: int
    removed: int
    changed: int
    unknown: int = 0

    @property
    def is_certain(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        if self.part == CLASSES:
            return "the classes have changed"
        counts = {"added": self.added, "removed": self.removed, "changed": self.changed}
        said = [f"{count} {self._noun(count)} {verb}" for verb, count in counts.items() if count]
        return ", ".join(said) or f"{self.unknown} {self._noun(self.unknown)} may have changed"

    def _noun(self, count: int) -> str:
        ending = "" if count == 1 else "s"
        if self.part == UNLABELLED:
            return f"image{ending}"
        split, _, role = self.part.partition(".")
        if role == "images":
            return f"{split} image{ending}"
        return f"{role} mask{ending}" + ("" if split == "train" else f" of {split}")


def part_changes(old: Contents, new: Contents) -> list[PartChange]:
    """The parts that differ, or may differ because a digest is not known, in the order of their names."""
    found = []
    for part in sorted(old.keys() | new.keys()):
        before, after = old.get(part, {}), new.get(part, {})
        both = before.keys() & after.keys()
        states = Counter(_compared(before[id_], after[id_]) for id_ in both)
        added, removed = len(after.keys() - both), len(before.keys() - both)
        change = PartChange(part, added, removed, states["changed"], states["unknown"])
        if change.is_certain or change.unknown:
            found.append(change)
    return found


def _compared(old: Files, new: Files) -> Literal["same", "changed", "unknown"]:
    pairs = list(zip(old, new, strict=True))
    if any(None not in pair and pair[0] != pair[1] for pair in pairs):
        return "changed"
    return "unknown" if any(None in pair for pair in pairs) else "same"
