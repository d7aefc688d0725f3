"""The table of data sources, and the digest of what a source holds. Nothing here needs numpy: `status` calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autolabel.config.sources import Data, SyntheticConfig
from autolabel.data.sources import camvid, cityscapes, folder, mapillary, synthetic
from autolabel.data.sources.base import SourceListing
from autolabel.store import InputDigests
from autolabel.store.files import digest_json

_RENDERED = 2  # increases when the same settings render other bytes

PLANS: dict[str, Callable[[Any], SourceListing]] = {
    "synthetic": synthetic.plan,
    "camvid": camvid.plan,
    "cityscapes": cityscapes.plan,
    "mapillary": mapillary.plan,
    "folder": folder.plan,
}


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
