"""Build a manifest: open the files of each image of a data source, check them, and describe them as rows.

The source lists its files first (`data.sources.registry`), which opens none, and identifies their content for the stage
key, by the digests. `scan` reads every file once and says what it sees. `build` also ends with an error for
findings that nobody confirmed, and for more than `max_bad` images with an unusable file; fewer are quarantined with the
reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autolabel.config.sources import Data, SyntheticConfig
from autolabel.data.decode import decode_image
from autolabel.data.findings import Finding, findings, raise_findings
from autolabel.data.loaders import label_from
from autolabel.data.scan import MaskFacts, ScannedImage, ScanRules, mask_table, scan_image
from autolabel.data.schema import ImageRow, LabelRow
from autolabel.data.sources import synthetic
from autolabel.data.sources.base import SourceImage, SourceListing
from autolabel.data.sources.registry import fingerprint, plan
from autolabel.data.survey import Survey
from autolabel.errors import DataError
from autolabel.hardware import usable_cores
from autolabel.parallel import closing_quietly
from autolabel.progress import Progress
from autolabel.store import Digests, InputDigests, mirror_names
from autolabel.store.files import sha256_bytes, sha256_file
from autolabel.user_files import read_user_file

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest
    from autolabel.data.rows import Rows


UNUSABLE = "images that cannot be used"  # the error of too many of them begins with it
_BATCH = 8  # most images that a worker gets at once: joblib's own work for each batch is half that for a small image
_BATCHES_PER_WORKER = 8  # at least, where there are so many images
_WRITE_BATCH = 64  # images whose rendered files are written at once
_SYSTEMATIC = 3  # number of images with one fault, beyond chance if they are most images
_SHOWN = 10  # number of unusable images beyond the limit after which the build gives up

WriteMany = Callable[[Iterable[tuple[str, bytes]]], object]
Reasons = tuple[tuple[str, str], ...]  # (image id, reason)
UnreadableItem = tuple[tuple[str, str, str], ...]  # (image id, path of the image, reason)


@dataclass(frozen=True)
class ScanResult:
    """`quarantined` images cannot be used; `excluded` ones are on a list that ships with autolabel.

    `causes` are the reasons of quarantined images without names and numbers. Synthetic scenes have no findings.
    `images` are the usable ones, `labels` theirs.
    """

    settings: Data
    listing: SourceListing
    images: Rows[ImageRow]
    labels: Rows[LabelRow]
    quarantined: UnreadableItem
    causes: tuple[str, ...]
    survey: Survey
    findings: tuple[Finding, ...]
    other_digests: Mapping[str, str | None]  # as `digests`, of the files that are not those of `images`

    @property
    def digests(self) -> Digests:
        """The sha256 of every file that was opened by its path; None: it cannot be read."""
        of_images = {image.path: bytes.fromhex(image.sha256) for image in self.images if image.root == "source"}
        others = {path: x if x is None else bytes.fromhex(x) for path, x in self.other_digests.items()}
        return Digests(of_images | others)

    @property
    def fingerprint(self) -> str:
        """The one of the bytes that were read; only of a scan of the whole source."""
        if isinstance(self.settings, SyntheticConfig):
            return fingerprint(self.settings, InputDigests())
        return self.listing.fingerprint(self.digests)

    @property
    def manifest(self) -> Manifest:
        from autolabel.data.manifest import Manifest

        return Manifest(self.listing.classes, self.images, self.labels)

    @property
    def excluded(self) -> Reasons:
        return self.listing.excluded


@dataclass(frozen=True, slots=True)
class _Outcome:
    """An image as it was scanned, and its files that the manifest artefact gets: rendered ones and converted masks."""

    image: SourceImage
    scanned: ScannedImage
    files: Mapping[str, bytes]
    digests: Mapping[str, str | None]  # sha256 of every file of the image by its path; None: it cannot be read


class _Tables:
    """The part of the outcomes that is kept: 100,000 images must fit in memory."""

    def __init__(self) -> None:
        from autolabel.data.manifest import IMAGE_SCHEMA, LABEL_SCHEMA
        from autolabel.data.rows import RowsBuilder

        self.images, self.labels = RowsBuilder(ImageRow, IMAGE_SCHEMA), RowsBuilder(LabelRow, LABEL_SCHEMA)
        self.bad: list[_Outcome] = []
        self.facts: list[MaskFacts] = []
        self.thumbnails: list[tuple[str, str, bytes]] = []  # path, split, thumbnail
        self.digests: dict[str, str | None] = {}  # of files that are not those of `images`

    def add(self, outcome: _Outcome) -> None:
        scanned = outcome.scanned
        self.facts += scanned.masks
        self.thumbnails.append((outcome.image.path, outcome.image.split, scanned.thumbnail))
        if scanned.rows is None:
            self.bad.append(outcome)
            self.digests |= outcome.digests
            return
        image, labels = scanned.rows
        self.digests |= {path: digest for path, digest in outcome.digests.items() if path != image.path}
        self.images.add(image)
        for label in labels:
            self.labels.add(label)


def build(
    settings: Data,
    *,
    write_many: WriteMany,
    jobs: int = 0,
    quiet: bool = False,
    check: Callable[[], None] = lambda: None,
) -> ScanResult:
    """As `scan`. Raises DataError for a finding that is wrong or not confirmed, and for more than `settings.max_bad`
    unusable images."""
    found = scan(
        settings, write_many=write_many, jobs=jobs, quiet=quiet, check=check, give_up=settings.max_bad + _SHOWN
    )
    refuse(found)
    return found


def refuse(found: ScanResult) -> None:
    """Raise the DataError that a run of this data ends with, if there is one."""
    raise_findings([finding for finding in found.findings if finding.level == "error"])
    _check_bad(found, found.settings.max_bad)
    raise_findings(found.findings)


def scan(
    settings: Data,
    *,
    write_many: WriteMany = lambda files: None,
    jobs: int = 0,
    quiet: bool = False,
    check: Callable[[], None] = lambda: None,
    give_up: int | None = None,
    labelled_only: int | None = None,
) -> ScanResult:
    """Open every file of the source and describe it.

    `write_many` gets the files that the manifest artefact itself holds (rendered scenes and converted masks, root
    "data") as (name, bytes), in batches. `jobs` threads work at once, 0 = one per usable core; an outer
    `joblib.parallel_config` may choose another back-end. `check` is called after every image and may raise to end the
    scan. It ends early at more than `give_up` unusable images. With `labelled_only`, a sample of about so many
    images with labels is opened instead of all.
    """
    from joblib import Parallel, delayed

    listing = plan(settings)
    images = listing.images if labelled_only is None else _sample(listing.images, labelled_only)
    workers = jobs or usable_cores()
    parallel = Parallel(
        n_jobs=workers,
        prefer="threads",
        return_as="generator",
        batch_size=max(1, min(_BATCH, len(images) // (_BATCHES_PER_WORKER * workers))),
    )
    results = parallel(delayed(task)() for task in _tasks(settings, listing, images))
    tables = _Tables()
    with closing_quietly(results), Progress(total=len(images), desc="manifest", unit="image", quiet=quiet) as bar:
        for outcome in _written(results, write_many):
            tables.add(outcome)
            bar.update()
            check()
            if give_up is not None and len(tables.bad) > give_up:
                break
    return _result(settings, listing, tables)


def _result(settings: Data, listing: SourceListing, tables: _Tables) -> ScanResult:
    rules = listing.masks
    survey = Survey.of(
        tables.facts, listing.classes, mask_table(listing.classes, rules), "ids" if rules is None else rules.values
    )
    found: list[Finding] = []
    if not isinstance(settings, SyntheticConfig):
        found = findings(survey, tables.thumbnails, settings.confirmed, val_is_drawn=listing.val_is_drawn)
    return ScanResult(
        settings=settings,
        listing=listing,
        images=tables.images.rows(),
        labels=tables.labels.rows(),
        quarantined=tuple((x.image.id, x.image.path, x.scanned.reason) for x in tables.bad),
        causes=tuple(x.scanned.cause for x in tables.bad),
        survey=survey,
        findings=tuple(found),
        other_digests=tables.digests,
    )


def any_readable(settings: Data, ids: Set[str]) -> bool:
    """Open these images of the source again; tell whether at least one of them can be used now."""
    listing = plan(settings)
    rules = _rules(settings, listing)
    return any(_open(image, listing.root, rules, "").scanned.rows for image in listing.images if image.id in ids)


def read_pair(
    settings: Data, listing: SourceListing, image: SourceImage
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The pixels of an image and the train ids of its first label, as training reads them. Raises DataError."""
    scanned = scan_image(image, partial(_read, listing.root), _rules(settings, listing), "label.png")
    if scanned.rows is None:
        raise DataError(image.path, scanned.reason)
    row = scanned.rows[1][0]
    data = scanned.files[row.path] if row.path in scanned.files else _read(listing.root, row.path)
    pixels = decode_image(_read(listing.root, image.path), where=image.path, max_pixels=settings.max_pixels)
    return pixels, label_from(data, row, listing.classes)


def _rules(settings: Data, listing: SourceListing) -> ScanRules:
    root = "data" if isinstance(settings, SyntheticConfig) else "source"
    return ScanRules(
        listing.classes, root, settings.source, settings.max_pixels, listing.masks, settings.mask_orientation
    )


def _tasks(settings: Data, listing: SourceListing, images: Sequence[SourceImage]) -> Iterator[Callable[[], _Outcome]]:
    rules = _rules(settings, listing)
    if isinstance(settings, SyntheticConfig):
        for number, image in synthetic.scenes(settings):
            yield partial(_render, settings, number, image, rules)
    else:
        names = mirror_names({image.id: image.id for image in listing.images if image.labels}, ".png")
        for image in images:
            yield partial(_open, image, listing.root, rules, names.get(image.id, ""))


def _sample(images: Sequence[SourceImage], count: int) -> list[SourceImage]:
    """Up to `count` images with fine labels and a quarter as many with other labels, spread over the source."""
    fine = [image for image in images if any(label.role == "fine" for label in image.labels)]
    others = [image for image in images if image.labels and not any(label.role == "fine" for label in image.labels)]
    return [
        image
        for group, most in ((fine, count), (others, count // 4))
        for image in group[:: max(1, -(-len(group) // most))]
    ]


def _open(image: SourceImage, root: Path, rules: ScanRules, name: str) -> _Outcome:
    digests: dict[str, str | None] = {}

    def read(path: str) -> bytes:
        digests[path] = None
        data = _read(root, path)
        digests[path] = sha256_bytes(data)
        return data

    scanned = scan_image(image, read, rules, name)
    for path in {image.path, *(label.path for label in image.labels)} - digests.keys():
        digests[path] = None
        with suppress(OSError):
            digests[path] = sha256_file(root / path)
    return _Outcome(image, scanned, scanned.files, digests)


def _read(root: Path, path: str) -> bytes:
    return read_user_file(root / path, DataError, where=path)


def _render(settings: SyntheticConfig, number: int, image: SourceImage, rules: ScanRules) -> _Outcome:
    files = synthetic.files(settings, number, image)
    return _Outcome(image, scan_image(image, files.__getitem__, rules, ""), files, {})


def _written(results: Iterable[_Outcome], write_many: WriteMany) -> Iterator[_Outcome]:
    """Yield the outcomes and write their files in batches."""
    files: dict[str, bytes] = {}
    for count, outcome in enumerate(results, 1):
        files |= outcome.files
        if files and count % _WRITE_BATCH == 0:
            write_many(files.items())
            files = {}
        yield outcome
    if files:
        write_many(files.items())


def _check_bad(found: ScanResult, limit: int) -> None:
    bad, causes = found.quarantined, Counter(found.causes)
    if len(bad) <= limit:
        return
    first = " | ".join(reason for *_, reason in bad[:3])
    more = " or more" if len(bad) == limit + _SHOWN + 1 else ""  # a build gives up there
    what = f"{UNUSABLE}: {len(bad)}{more}, but data.max_bad allows {limit}; first: {first}"
    remedy = "repair them or raise data.max_bad"
    (_, most), *_ = causes.most_common(1)
    if most >= _SYSTEMATIC and 2 * most > len(bad) + len(found.images):  # no use to leave them out
        remedy = "most images have this fault: correct the data or the settings"
    raise DataError("manifest", what, remedy)
