"""The parts of a manifest that stages read: its images by split and its labels by split and role, each with a digest.

    classes            the class list
    train.unlabelled   images that the teacher labels: those of split train without a fine label
    val.images         all images of split val
    train.fine, ...    the labels of one split and role, with their images

A stage's key holds the digests of the parts that it reads: an image without labels leaves the teacher's key as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from autolabel.store.files import digest_json

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest
    from autolabel.data.sources.base import SourceListing

CLASSES, UNLABELLED, VAL_IMAGES = "classes", "train.unlabelled", "val.images"

Contents = dict[str, dict[str, str | None]]  # part -> image id -> digest of the image or mask; None: not known


def label_part(split: str, role: str) -> str:
    return f"{split}.{role}"


def part_digests(manifest: Manifest) -> dict[str, str]:
    """The digest of every part that is not empty. It covers all columns of the part's rows."""
    rows: defaultdict[str, list[object]] = defaultdict(list)
    for image in manifest.images:
        for part in _parts_of(image.split, has_fine=manifest.label(image.id, "fine") is not None):
            rows[part].append(astuple(image))
    for label in manifest.labels:
        image = manifest.image(label.image_id)
        rows[label_part(image.split, label.role)].append([astuple(image), astuple(label)])
    digests = {part: digest_json(rows[part]) for part in sorted(rows)}
    return {CLASSES: digest_json(manifest.classes.to_dict()), **digests}


def manifest_contents(manifest: Manifest) -> Contents:
    """The files of each part. A mask that was converted has no digest of the user's file."""
    contents: Contents = defaultdict(dict)
    for image in manifest.images:
        for part in _parts_of(image.split, has_fine=manifest.label(image.id, "fine") is not None):
            contents[part][image.id] = image.sha256
    for label in manifest.labels:
        part = label_part(manifest.image(label.image_id).split, label.role)
        contents[part][label.image_id] = label.sha256 if label.root == "source" else None
    return contents


def listing_contents(listing: SourceListing, digests: Mapping[str, str | None]) -> Contents:
    """As `manifest_contents`, before the files are opened; `digests` of the files by their path."""
    contents: Contents = defaultdict(dict)
    for image in listing.images:
        for part in _parts_of(image.split, has_fine=any(label.role == "fine" for label in image.labels)):
            contents[part][image.id] = digests[image.path]
        for label in image.labels:
            contents[label_part(image.split, label.role)][image.id] = digests[label.path]
    return contents


def _parts_of(split: str, *, has_fine: bool) -> Iterable[str]:
    if split == "train" and not has_fine:
        yield UNLABELLED
    if split == "val":
        yield VAL_IMAGES


@dataclass(frozen=True)
class PartChange:
    """How many images or masks of a part were added, removed and changed."""

    part: str
    added: int
    removed: int
    changed: int

    def __str__(self) -> str:
        counts = {"added": self.added, "removed": self.removed, "changed": self.changed}
        said = [f"{count} {self._noun(count)} {verb}" for verb, count in counts.items() if count]
        return ", ".join(said)

    def _noun(self, count: int) -> str:
        ending = "" if count == 1 else "s"
        if self.part == UNLABELLED:
            return f"image{ending}"
        split, _, role = self.part.partition(".")
        if role == "images":
            return f"{split} image{ending}"
        return f"{role} mask{ending}" + ("" if split == "train" else f" of {split}")


def part_changes(old: Contents, new: Contents) -> list[PartChange]:
    """The parts that differ, in the order of their names. A digest that is not known counts as the same."""
    found = []
    for part in sorted(old.keys() | new.keys()):
        before, after = old.get(part, {}), new.get(part, {})
        both = before.keys() & after.keys()
        changed = sum(None not in (before[id_], after[id_]) and before[id_] != after[id_] for id_ in both)
        change = PartChange(part, len(after.keys() - both), len(before.keys() - both), changed)
        if change.added or change.removed or change.changed:
            found.append(change)
    return found
