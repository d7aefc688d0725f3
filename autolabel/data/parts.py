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
from typing import TYPE_CHECKING, Literal

from autolabel.store.files import digest_json

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest
    from autolabel.data.sources.base import SourceListing

CLASSES, UNLABELLED, VAL_IMAGES = "classes", "train.unlabelled", "val.images"

Files = tuple[str | None, ...]  # the image's group, and digests of the image and its mask; None: not known
Contents = dict[str, dict[str, Files]]  # part -> image id -> files


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
    contents: Contents = defaultdict(dict, {CLASSES: {"": (digest_json(manifest.classes.to_dict()),)}})
    for image in manifest.images:
        for part in _parts_of(image.split, has_fine=manifest.label(image.id, "fine") is not None):
            contents[part][image.id] = (image.group, image.sha256)
    for label in manifest.labels:
        image = manifest.image(label.image_id)
        mask = label.sha256 if label.root == "source" else None
        contents[label_part(image.split, label.role)][image.id] = (image.group, image.sha256, mask)
    return contents


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
