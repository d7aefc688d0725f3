"""The mark of a work folder: a file with an id, which says that the folder belongs to autolabel.

Only in a marked folder anything is deleted. A copy of a work folder keeps its mark.
"""

from __future__ import annotations

import json
import re
import secrets
from contextlib import suppress
from pathlib import Path

from autolabel.errors import ConfigError, CorruptArtefact
from autolabel.store import durable
from autolabel.store.files import canonical_json, read_regular

WORK_MARK = "autolabel-work.json"
_FORMAT = 1
_ID = re.compile(r"[0-9a-f]{32}")


def ensure_mark(work: Path) -> str:
    """The id of a work folder, which is marked first if it is not. Call it under the lock."""
    found = read_mark(work)
    if found is None:
        found = secrets.token_hex(16)
        durable.write_file(work / WORK_MARK, canonical_json({"format": _FORMAT, "id": found}))
    return found


def require_mark(work: Path) -> None:
    """ConfigError for a folder with artefacts and without a mark."""
    if read_mark(work) is None and (work / "artefacts").is_dir():
        what = "is not marked as a work folder of autolabel, and nothing is deleted in another folder"
        raise ConfigError(work, what, "check --work; `autolabel run` with this --work marks it")


def read_mark(work: Path) -> str | None:
    """The id of a work folder; None for a folder without a valid mark."""
    with suppress(CorruptArtefact, ValueError, KeyError, TypeError, RecursionError):
        document = json.loads(read_regular(work / WORK_MARK))
        if document["format"] == _FORMAT and _ID.fullmatch(document["id"]):
            return str(document["id"])
    return None
