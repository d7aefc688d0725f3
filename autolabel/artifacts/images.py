"""Artefacts `manifest` and `fused`: tables of images and labels, and the images that a stage went on without.

A stage may go on without unusable images, within `data.max_bad`. `quarantine.json` says which and why; `retry.txt`
lists their files for tools that copy or make files anew, one path below the data's root a line. A path that holds a
newline would make two lines, either of them perhaps of another file: only `quarantine.json` names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict, cast

from autolabel.artifacts.json_file import JsonFile
from autolabel.store import Artefact, Draft

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest
    from autolabel.data.survey import ValueRow

RETRY = "retry.txt"
TEACHER_FAILED = "teacher"  # the cause of an image that can be read and that the teacher cannot label


class ManifestMeta(TypedDict):
    images: dict[str, int]  # number of images by split
    labels: dict[str, int]  # number of labels by role
    classes: list[str]
    findings: list[str]  # codes of what `autolabel check-data` shows
    parts: dict[str, str]  # digest of each part that stages read (`data/parts.py`)


class DataCheck(TypedDict):
    """The findings of the scan, for people; in the manifest's provenance."""

    findings: list[str]
    values: list[ValueRow]


class FusedMeta(TypedDict):
    images: int
    layers: dict[str, int]  # number of labels by role


class ExcludedImage(TypedDict):
    id: str
    reason: str


class QuarantinedImage(TypedDict):
    id: str
    path: str  # below the data's root
    reason: str
    cause: NotRequired[str]  # TEACHER_FAILED; left out where the file of the image is the cause


class CorrectedLabel(TypedDict):
    """A label of a fused manifest that people have corrected: who set its pixels."""

    id: str
    base: str | None  # role of the label below; None: pixels that are not corrected are ignore
    pixels: int  # corrected ones
    author: str
    time: str
    corrections: str  # sha256 of the mask that says which pixels they are


CORRECTED_FILE: JsonFile[list[CorrectedLabel]] = JsonFile("corrected.json", indent=1, sort_keys=True)
EXCLUDED_FILE: JsonFile[list[ExcludedImage]] = JsonFile("excluded.json", indent=1)
QUARANTINE_FILE: JsonFile[list[QuarantinedImage]] = JsonFile("quarantine.json", indent=1)


def read_manifest(artefact: Artefact) -> Manifest:
    """The manifest in an artefact (`manifest`, `labels` or `fused`); its bytes are checked on reading."""
    from autolabel.data.manifest import Manifest

    return Manifest.from_files(artefact.read)


def write_manifest(draft: Draft, manifest: Manifest) -> None:
    for name, data in manifest.to_files().items():
        draft.write(name, data)


def manifest_meta(artefact: Artefact) -> ManifestMeta:
    return cast(ManifestMeta, artefact.meta)


def write_excluded(draft: Draft, images: Sequence[ExcludedImage]) -> None:
    """Images that a list of known faults leaves out; no file where there are none."""
    if images:
        EXCLUDED_FILE.write(draft, list(images))


def write_quarantine(draft: Draft, images: Sequence[QuarantinedImage]) -> None:
    """No files where no image is bad."""
    if images:
        QUARANTINE_FILE.write(draft, list(images))
        paths = [image["path"] for image in images if image["path"].splitlines() == [image["path"]]]
        draft.write(RETRY, "".join(f"{path}\n" for path in paths).encode())


def read_corrected(artefact: Artefact) -> list[CorrectedLabel]:
    return CORRECTED_FILE.read(artefact) if CORRECTED_FILE.name in artefact.names() else []


class CorrectedCount(NamedTuple):
    images: int
    pixels: int


def count_corrected(artefact: Artefact) -> CorrectedCount | None:
    """How much of what a student learns from people have corrected; None where it is nothing."""
    rows = read_corrected(artefact)
    return CorrectedCount(len(rows), sum(row["pixels"] for row in rows)) if rows else None


def read_quarantine(artefact: Artefact) -> list[QuarantinedImage]:
    return QUARANTINE_FILE.read(artefact) if QUARANTINE_FILE.name in artefact.names() else []
