"""The table of data sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autolabel.config.sources import Data
from autolabel.data.sources import camvid, cityscapes, folder, mapillary, synthetic
from autolabel.data.sources.base import SourceListing

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
