"""Folders for the user that are either complete or not there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from autolabel.errors import StoreError
from autolabel.store import durable
from autolabel.store.files import Bytes
from autolabel.store.output_folder import only_writer


def write_folder(path: Path, items: Iterable[tuple[str, Bytes]]) -> None:
    """Writes a new folder of (name, data) files, which appears with all of them. StoreError if its name is taken,
    ConfigError if it would lie in an artefact, WorkFolderLocked if another command writes it.

    It is filled under a temporary name beside it. A killed run leaves that behind; the next run for this folder removes
    it.
    """
    with only_writer(path):
        _write_alone(path, items)


def _write_alone(path: Path, items: Iterable[tuple[str, Bytes]]) -> None:
    temporary = path.with_name(durable.TEMPORARY + path.name)
    durable.remove_tree(temporary)
    try:
        durable.write_files(temporary, items)
    except BaseException:
        _remove_quietly(temporary)
        raise
    try:
        durable.publish(temporary, path)
    except BaseException:
        if not os.path.lexists(temporary):  # it has its name, but not durably: take it back, so that a repetition works
            with suppress(StoreError):
                durable.publish(path, temporary)
        _remove_quietly(temporary)
        raise


def _remove_quietly(folder: Path) -> None:
    with suppress(StoreError):  # the first error counts
        durable.remove_tree(folder)
