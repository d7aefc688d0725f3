"""Build a manifest: open the files of each image of a data source, check them, and describe them as rows.

`plan` lists the source and opens no image. `fingerprint` identifies its content for the stage key, by the digests of
its files. `build` then reads every file once. An image with an unusable file is quarantined with the reason; more than
`max_bad` of them end the build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autolabel.classes import IGNORE, ClassSet
from autolabel.config.sources import Data, SyntheticConfig
from autolabel.data.decode import decode_image, decode_label
from autolabel.data.schema import ImageRow, LabelRow
from autolabel.data.sources import camvid, cityscapes, folder, mapillary, synthetic
from autolabel.data.sources.base import SourceImage, SourceLabel, SourceListing
from autolabel.errors import DataError, LabelError
from autolabel.parallel import closing_quietly
from autolabel.progress import Progress
from autolabel.store.files import digest_json, sha256_bytes, sha256_file
from autolabel.store.input_digests import InputDigests
from autolabel.user_files import read_user_file

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest


@dataclass(frozen=True)
class ScanRules:
    """The rules that every file of a source is checked by, and the values that its rows have in common."""

    classes: ClassSet
    root: str  # name of the root in the rows
    provenance: str
    max_pixels: int


def scan_image(
    image: SourceImage, read: Callable[[str], bytes], rules: ScanRules
) -> tuple[ImageRow, tuple[LabelRow, ...]]:
    """Read each file once, decode it, and count. Raises DataError for files that training cannot use."""
    data = read(image.path)
    height, width, _ = decode_image(data, where=image.path, max_pixels=rules.max_pixels).shape
    row = ImageRow(
        id=image.id,
        split=image.split,
        group=image.group,
        root=rules.root,
        path=image.path,
        sha256=sha256_bytes(data),
        bytes=len(data),
        width=width,
        height=height,
    )
    return row, tuple(_label_row(row, label, read(label.path), rules) for label in image.labels)


def _label_row(image: ImageRow, label: SourceLabel, data: bytes, rules: ScanRules) -> LabelRow:
    train_ids = decode_label(
        data, where=label.path, classes=rules.classes, encoding=label.encoding, max_pixels=rules.max_pixels
    )
    height, width = train_ids.shape
    if (width, height) != (image.width, image.height):
        what = f"is {width} x {height}, its image {image.path} is {image.width} x {image.height}"
        raise LabelError(label.path, what, "label maps must have the size of their image")
    counts = np.bincount(train_ids.ravel(), minlength=256)
    return LabelRow(
        image_id=image.id,
        role=label.role,
        encoding=label.encoding,
        root=rules.root,
        path=label.path,
        sha256=sha256_bytes(data),
        bytes=len(data),
        counts=(*counts[: rules.classes.num_classes].tolist(), int(counts[IGNORE])),
        provenance=rules.provenance,
    )


PLANS: dict[str, Callable[[Any], SourceListing]] = {
    "synthetic": synthetic.plan,
    "camvid": camvid.plan,
    "cityscapes": cityscapes.plan,
    "mapillary": mapillary.plan,
    "folder": folder.plan,
}
_RENDERED = 2  # increases when the same settings render other bytes
_WRITE_BATCH = 64  # images whose rendered files are written at once
_SHOWN = 10  # number of unusable images beyond the limit after which the build gives up

WriteMany = Callable[[Iterable[tuple[str, bytes]]], object]
_Rows = tuple[ImageRow, tuple[LabelRow, ...]]
Reasons = tuple[tuple[str, str], ...]  # (image id, reason)
UnreadableItem = tuple[tuple[str, str, str], ...]  # (image id, path of the image, reason)


@dataclass(frozen=True)
class ScanResult:
    """`quarantined` images cannot be used; `excluded` ones are on a list that ships with autolabel.

    `fingerprint` is the one of the bytes that were read.
    """

    manifest: Manifest
    quarantined: UnreadableItem
    excluded: Reasons
    fingerprint: str
    digests: Mapping[str, str | None]  # of every file by its path; None: it cannot be read


@dataclass(frozen=True)
class _Outcome:
    """The rows of one image, or the reason why there are none, and its files if they were rendered."""

    image: SourceImage
    rows: _Rows | None
    reason: str
    files: dict[str, bytes]
    digests: dict[str, str | None]  # sha256 of every file of the image by its path; None: it cannot be read


def plan(settings: Data) -> SourceListing:
    """List the files of the source and check their names. Raises DataError."""
    return PLANS[settings.source](settings)


def fingerprint(settings: Data, files: InputDigests) -> str:
    """Digest of the manifest's input, without times and absolute paths.

    It covers the settings of rendered scenes, or else the names and contents of all files. Raises DataError.
    """
    if isinstance(settings, SyntheticConfig):
        return digest_json([_RENDERED, settings.model_dump(mode="json")])
    listing = plan(settings)
    return listing.fingerprint(listing.digests(files))


def build(
    settings: Data,
    *,
    write_many: WriteMany,
    jobs: int = 0,
    quiet: bool = False,
    check: Callable[[], None] = lambda: None,
) -> ScanResult:
    """Open every file of the source and describe it.

    `write_many` gets the files that the manifest artefact itself holds (rendered scenes, root "data") as (name, bytes),
    in batches. `jobs` threads work at once, 0 = one per usable core; an outer `joblib.parallel_config` may choose
    another back-end. `check` is called after every image and may raise to end the build. Raises DataError if more than
    `settings.max_bad` images cannot be used.
    """
    from joblib import Parallel, delayed

    listing = plan(settings)
    work = list(_tasks(settings, listing))
    results = Parallel(n_jobs=jobs or -1, prefer="threads", return_as="generator")(delayed(task)() for task in work)
    good: list[_Rows] = []
    bad: list[tuple[str, str, str]] = []
    digests: dict[str, str | None] = {}
    with closing_quietly(results), Progress(total=len(work), desc="manifest", unit="image", quiet=quiet) as bar:
        for outcome in _written(results, write_many):
            if outcome.rows is None:
                bad.append((outcome.image.id, outcome.image.path, outcome.reason))
            else:
                good.append(outcome.rows)
            digests |= outcome.digests
            bar.update()
            check()
            if len(bad) > settings.max_bad + _SHOWN:
                break
    _check_bad(bad, settings.max_bad)
    content = fingerprint(settings, InputDigests()) if isinstance(settings, SyntheticConfig) else None
    content = content or listing.fingerprint(digests)
    return ScanResult(_manifest(listing, good), tuple(bad), listing.excluded, content, digests)


def any_readable(settings: Data, ids: Set[str]) -> bool:
    """Open these images of the source again; tell whether at least one of them can be used now."""
    listing = plan(settings)
    rules = _rules(settings, listing)
    return any(_open(image, listing.root, rules).rows for image in listing.images if image.id in ids)


def _rules(settings: Data, listing: SourceListing) -> ScanRules:
    root = "data" if isinstance(settings, SyntheticConfig) else "source"
    return ScanRules(listing.classes, root, settings.source, settings.max_pixels)


def _tasks(settings: Data, listing: SourceListing) -> Iterator[Callable[[], _Outcome]]:
    rules = _rules(settings, listing)
    if isinstance(settings, SyntheticConfig):
        for number, image in synthetic.scenes(settings):
            yield partial(_render, settings, number, image, rules)
    else:
        for image in listing.images:
            yield partial(_open, image, listing.root, rules)


def _open(image: SourceImage, root: Path, rules: ScanRules) -> _Outcome:
    read: dict[str, bytes | None] = {}

    def read_once(path: str) -> bytes:
        read[path] = None
        data = read[path] = read_user_file(root / path, DataError, where=path)
        return data

    try:
        rows = scan_image(image, read_once, rules)
    except DataError as error:
        return _Outcome(image, None, str(error), {}, _digests(image, root, read))
    digests: dict[str, str | None] = {rows[0].path: rows[0].sha256}
    digests.update({row.path: row.sha256 for row in rows[1]})
    return _Outcome(image, rows, "", {}, digests)


def _digests(image: SourceImage, root: Path, read: Mapping[str, bytes | None]) -> dict[str, str | None]:
    """The digests of the files of an image that cannot be used: of the bytes that were read, if they were."""
    digests = {path: None if data is None else sha256_bytes(data) for path, data in read.items()}
    for path in {image.path, *(label.path for label in image.labels)} - digests.keys():
        with suppress(OSError):
            digests[path] = sha256_file(root / path)
    return dict.fromkeys((image.path, *(label.path for label in image.labels))) | digests


def _render(settings: SyntheticConfig, number: int, image: SourceImage, rules: ScanRules) -> _Outcome:
    files = synthetic.files(settings, number, image)
    return _Outcome(image, scan_image(image, files.__getitem__, rules), "", files, {})


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


def _check_bad(bad: list[tuple[str, str, str]], limit: int) -> None:
    if len(bad) > limit:
        first = " | ".join(reason for *_, reason in bad[:3])
        more = " or more" if len(bad) > limit + _SHOWN else ""
        what = f"images that cannot be used: {len(bad)}{more}, but data.max_bad allows {limit}; first: {first}"
        raise DataError("manifest", what, "repair them or raise data.max_bad")


def _manifest(listing: SourceListing, rows: list[_Rows]) -> Manifest:
    from autolabel.data.manifest import Manifest

    return Manifest(listing.classes, tuple(image for image, _ in rows), tuple(x for _, labels in rows for x in labels))
