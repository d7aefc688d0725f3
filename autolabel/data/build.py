"""Build a manifest: open the files of each image of a data source, check them, and describe them as rows.

`plan` lists the source and `fingerprint` identifies its content for the stage key; neither opens an image. `build` then
reads every file once. An image with an unusable file is quarantined with the reason; more than `max_bad` of them end
the build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolabel.config.sources import Data, SyntheticConfig
from autolabel.data.scan import ScannedImage, ScanRules, scan_image
from autolabel.data.schema import ImageRow, LabelRow
from autolabel.data.sources import camvid, cityscapes, folder, mapillary, synthetic
from autolabel.data.sources.base import SourceImage, SourceListing
from autolabel.errors import DataError
from autolabel.parallel import closing_quietly
from autolabel.progress import Progress
from autolabel.store import safe_names
from autolabel.store.files import digest_json
from autolabel.user_files import read_user_file

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest


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
    """`quarantined` images cannot be used; `excluded` ones are on a list that ships with autolabel."""

    manifest: Manifest
    quarantined: UnreadableItem
    excluded: Reasons


@dataclass(frozen=True)
class _Outcome:
    """An image as it was scanned, and its files that the manifest artefact gets: rendered ones and converted masks."""

    image: SourceImage
    scanned: ScannedImage
    files: Mapping[str, bytes]


def plan(settings: Data) -> SourceListing:
    """List the files of the source and check their names. Raises DataError."""
    return PLANS[settings.source](settings)


def fingerprint(settings: Data) -> str:
    """Digest of the manifest's input, without times and absolute paths.

    It covers the settings of rendered scenes, or else the names and sizes of all files. Raises DataError.
    """
    if isinstance(settings, SyntheticConfig):
        return digest_json([_RENDERED, settings.model_dump(mode="json")])
    return plan(settings).fingerprint()


def build(
    settings: Data,
    *,
    write_many: WriteMany,
    jobs: int = 0,
    quiet: bool = False,
    check: Callable[[], None] = lambda: None,
) -> ScanResult:
    """Open every file of the source and describe it.

    `write_many` gets the files that the manifest artefact itself holds (rendered scenes and converted masks, root
    "data") as (name, bytes), in batches. `jobs` threads work at once, 0 = one per usable core; an outer
    `joblib.parallel_config` may choose another back-end. `check` is called after every image and may raise to end the
    build. Raises DataError if more than `settings.max_bad` images cannot be used.
    """
    from joblib import Parallel, delayed

    listing = plan(settings)
    work = list(_tasks(settings, listing))
    results = Parallel(n_jobs=jobs or -1, prefer="threads", return_as="generator")(delayed(task)() for task in work)
    good: list[_Rows] = []
    bad: list[tuple[str, str, str]] = []
    with closing_quietly(results), Progress(total=len(work), desc="manifest", unit="image", quiet=quiet) as bar:
        for outcome in _written(results, write_many):
            if outcome.scanned.rows is None:
                bad.append((outcome.image.id, outcome.image.path, outcome.scanned.reason))
            else:
                good.append(outcome.scanned.rows)
            bar.update()
            check()
            if len(bad) > settings.max_bad + _SHOWN:
                break
    _check_bad(bad, settings.max_bad)
    return ScanResult(_manifest(listing, good), tuple(bad), listing.excluded)


def any_readable(settings: Data, ids: Set[str]) -> bool:
    """Open these images of the source again; tell whether at least one of them can be used now."""
    listing = plan(settings)
    rules = _rules(settings, listing)
    return any(_open(image, listing.root, rules, "").scanned.rows for image in listing.images if image.id in ids)


def _rules(settings: Data, listing: SourceListing) -> ScanRules:
    root = "data" if isinstance(settings, SyntheticConfig) else "source"
    return ScanRules(
        listing.classes, root, settings.source, settings.max_pixels, listing.masks, settings.mask_orientation
    )


def _tasks(settings: Data, listing: SourceListing) -> Iterator[Callable[[], _Outcome]]:
    rules = _rules(settings, listing)
    if isinstance(settings, SyntheticConfig):
        for number, image in synthetic.scenes(settings):
            yield partial(_render, settings, number, image, rules)
    else:
        names = safe_names((image.id for image in listing.images), ".png")
        for image in listing.images:
            yield partial(_open, image, listing.root, rules, names[image.id])


def _open(image: SourceImage, root: Path, rules: ScanRules, name: str) -> _Outcome:
    scanned = scan_image(image, partial(_read, root), rules, name)
    return _Outcome(image, scanned, scanned.files)


def _read(root: Path, path: str) -> bytes:
    return read_user_file(root / path, DataError, where=path)


def _render(settings: SyntheticConfig, number: int, image: SourceImage, rules: ScanRules) -> _Outcome:
    files = synthetic.files(settings, number, image)
    return _Outcome(image, scan_image(image, files.__getitem__, rules, ""), files)


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
