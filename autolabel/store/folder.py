"""Folders that are handed over: complete or not there."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from autolabel.errors import StoreError
from autolabel.store import durable
from autolabel.store.files import Bytes


def write_folder(path: Path, items: Iterable[tuple[str, Bytes]]) -> None:
    """A new folder of (name, data) files, which appears with all of them; StoreError where something has its name.

    It is filled under another name beside; a killed run leaves that behind, and the next one for this folder clears it.
    """
    making = path.with_name(durable.TEMPORARY + path.name)
    durable.remove_tree(making)
    try:
        durable.write_files(making, items)
        durable.publish(making, path)
    except BaseException:
        with suppress(StoreError):
            durable.remove_tree(making)
        raise
