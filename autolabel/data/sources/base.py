"""The listing of a data source: the files of each image, and the images left out with the reason; nothing is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autolabel.classes import ClassSet
from autolabel.data.schema import unsafe_path
from autolabel.errors import DataError
from autolabel.store.files import digest_json_list
from autolabel.store.input_digests import InputDigests


@dataclass(frozen=True, slots=True)
class SourceLabel:
    """A label map of one image; `schema.LabelRow` explains the fields."""

    role: str
    encoding: str
    path: str


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image and its labels; paths are relative to the root of the listing."""

    id: str
    split: str
    group: str
    path: str
    labels: tuple[SourceLabel, ...] = ()


@dataclass(frozen=True)
class MaskRules:
    """How the masks of a source are read: what their values are, and the train id of each value (255: no class).

    A colour is the number 0xRRGGBB. `in_place`: ids lead to the same train ids by the class set alone.
    """

    values: str  # "ids", "indices" or "colours"
    table: Mapping[int, int]
    in_place: bool


@dataclass(frozen=True)
class SkippedFiles:
    """Files that lie among the images or masks and are not used, for one reason."""

    folder: str
    reason: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.names)} file(s) in {self.folder}/ {self.reason}: {first_three(self.names)}"


_ANNOTATIONS = (".json", ".xml", ".txt", ".parquet")  # suffixes of files that `import labels` reads


@dataclass(frozen=True)
class SourceListing:
    """The images of a source, checked on creation. `excluded` holds (id, reason). Raises DataError.

    Without `masks`, label files are read by the class set and their encoding.
    """

    root: Path  # the user's folder
    classes: ClassSet
    images: tuple[SourceImage, ...]
    excluded: tuple[tuple[str, str], ...] = ()
    masks: MaskRules | None = None
    skipped: tuple[SkippedFiles, ...] = ()
    needs_masks: bool = True  # false: a teacher of another framework may label images without any
    val_is_drawn: bool = False  # the user told no split, so a part of the labelled images was drawn

    def __post_init__(self) -> None:
        _check_ids(self.images, self.root)
        train = [image for image in self.images if image.split == "train"]
        if self.needs_masks and not any(label.role != "truth" for image in train for label in image.labels):
            what = "; ".join(["no training image has a label", *map(str, self.skipped[:3])])
            raise DataError(self.root, what, self._remedy())

    def _remedy(self) -> str:
        if any(name.lower().endswith(_ANNOTATIONS) for files in self.skipped for name in files.names):
            return "turn annotations of other tools into masks first: autolabel import labels"
        return "a teacher needs some; check folders and lists"

    def fingerprint(self, digests: Mapping[str, str | None]) -> str:
        """Digest of the names and contents of all files, the classes and the exclusions, but not of times or places.

        `digests` are the sha256 of the files by their path; None for a file that cannot be read.
        """
        rows = ((path, digests[path]) for path in sorted(self.paths()))
        members = (
            (i.id, i.split, i.group, i.path, [[x.role, x.encoding, x.path] for x in i.labels])
            for i in sorted(self.images, key=lambda image: image.id)
        )
        content: list[object] = [rows, members, self.classes.to_dict(), sorted(self.excluded)]
        if self.masks is not None and not self.masks.in_place:
            content.append([self.masks.values, sorted(self.masks.table.items())])
        return digest_json_list(content)

    def digests(self, files: InputDigests) -> Mapping[str, str | None]:
        """The digest of each file by its path; None for one that cannot be read. Raises DataError for a missing one."""
        try:
            return files.of_files(self.root, self.paths())
        except OSError as error:
            remedy = "put it back or remove it from the list"
            raise DataError(error.filename, f"cannot be read: {error.strerror}", remedy) from error

    def paths(self) -> set[str]:
        """The paths of all images and labels."""
        return {image.path for image in self.images} | {x.path for image in self.images for x in image.labels}


def raise_if_any(names: Iterable[str], where: object, what: str, remedy: str) -> None:
    """Raise DataError if there are any names; it shows the first three and the number of the others."""
    ordered = sorted(names)
    if ordered:
        raise DataError(where, f"{what}: {first_three(ordered)}", remedy)


def first_three(names: Sequence[str]) -> str:
    """The first three names and the number of the others."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _check_ids(images: Sequence[SourceImage], root: Path) -> None:
    if not images:
        raise DataError(root, "holds no image where this source looks for them", "check data.root and the layout")
    if len({image.id for image in images}) < len(images):
        twice = (name for name, count in Counter(image.id for image in images).items() if count > 1)
        raise_if_any(twice, root, "more than one image has the id", "rename or remove one, or correct the lists")
    for image in images:
        for path in (image.path, *(label.path for label in image.labels)):
            unsafe = unsafe_path(path)
            if unsafe is not None:
                raise DataError(root, f"path {path!r} {unsafe}", "files must lie below data.root")
            if not _is_text(path) or not _is_text(image.id):
                raise DataError(root, f"file name {path!r} is not UTF-8", "rename the file")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # the name came from bytes that are not UTF-8 (surrogateescape)
        return False
    return True
