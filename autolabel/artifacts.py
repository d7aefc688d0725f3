"""Opening what earlier stages made.

What a stage could not use and went on without, within `data.max_bad`: written beside its other files.

`quarantine.json` says which images and why; `retry.txt` lists their files, one path below the data's root a line, for
tools that copy or make files anew. A path that holds a newline would make two, either of them perhaps of another
file: it stands in `quarantine.json` alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolabel.errors import DataError, WeightsError
from autolabel.store import Artefact, Draft
from autolabel.user_files import read_user_file

if TYPE_CHECKING:
    from autolabel.data.manifest import Manifest
    from autolabel.data.sources.base import SourceListing
    from autolabel.models import Network, NetworkCard


SHARD_INDEX = "shards.json"
WEIGHTS = "weights.safetensors"
TRAINED_ON = "trained_on.json"


def open_manifest(artefact: Artefact) -> Manifest:
    """The manifest in an artefact (of manifest, label or fuse); its bytes are checked on reading."""
    from autolabel.data.manifest import Manifest

    return Manifest.from_files(artefact.read)


def shard_index(artefact: Artefact) -> dict[str, Any]:
    """What an infer artefact holds: {"book": ..., "shards": [{"name", "split", "ids"}, ...]}."""
    index: dict[str, Any] = json.loads(artefact.read(SHARD_INDEX))
    return index


def open_model(artefact: Artefact) -> tuple[Network, NetworkCard]:
    """The network of a teacher or student artefact, in eval mode, and the card that came with its weights."""
    from autolabel.models import network_from_bytes

    return network_from_bytes(artefact.read(WEIGHTS), artefact.file(WEIGHTS))


def read_weights(path: Path) -> bytes:
    """The bytes of a weights file that a user names. Raises WeightsError."""
    return read_user_file(path, WeightsError, "give the path of a safetensors file")


def require_labels(data: SourceListing, split: str, roles: Collection[str], remedy: str) -> None:
    """DataError unless some image of the split has a label of one of the roles."""
    if not any(label.role in roles for image in data.images if image.split == split for label in image.labels):
        raise DataError(data.root, f"no {split} image has a label of {' or '.join(roles)}", remedy)


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
