"""What a stage could not use and went on without, within `data.max_bad`: written beside its other files.

`quarantine.json` says which images and why; `retry.txt` lists their files, one path below the data's root a line, for
tools that copy or make files anew. A path that holds a newline would make two, either of them perhaps of another
file: it stands in `quarantine.json` alone.
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
        paths = [row["path"] for row in rows if row["path"].splitlines() == [row["path"]]]
        draft.write(RETRY, "".join(f"{path}\n" for path in paths).encode())


def read_quarantine(made: Artefact) -> list[Row]:
    if QUARANTINE not in made.names():
        return []
    rows: list[Row] = json.loads(made.read(QUARANTINE))
    return rows
