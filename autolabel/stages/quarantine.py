"""What a stage could not use and went on without, within `data.max_bad`: written beside its other files.

`quarantine.json` says which images and why; `retry.txt` lists their files, one path below the data's root a line, for
tools that copy or make files anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from autolabel.store import Artefact, Draft

QUARANTINE, RETRY = "quarantine.json", "retry.txt"

Row = dict[str, str]


def quarantined(image_id: str, path: str, reason: str) -> Row:
    return {"id": image_id, "path": path, "reason": reason}


def write_quarantine(draft: Draft, rows: Sequence[Row]) -> None:
    """Nothing where nothing is bad."""
    if rows:
        draft.write(QUARANTINE, json.dumps(rows, indent=1).encode())
        draft.write(RETRY, "".join(f"{row['path']}\n" for row in rows).encode())


def read_quarantine(made: Artefact) -> list[Row]:
    if QUARANTINE not in made.names():
        return []
    rows: list[Row] = json.loads(made.read(QUARANTINE))
    return rows
