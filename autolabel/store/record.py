"""The two files that make a folder an artefact: manifest.json (what is in it) and COMMIT (that it is complete).

The root digest is the sha256 of manifest.json, which holds the sorted entries of `data/` and the `meta` of the stage.
COMMIT holds the root digest, the key, and the digest of provenance.json (kept out of the root, as it differs from run
to run). Both files have exactly one valid form, so that any changed bit shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autolabel.errors import CorruptArtefact, StoreError
from autolabel.store.files import ALGORITHM, canonical_encoder, canonical_json, sha256_bytes
from autolabel.store.names import check_name

FORMAT = 1

_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # raised by JSON of another shape


@dataclass(frozen=True, order=True, slots=True)
class Entry:
    """One file of `data/`."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Commit:
    key: str
    root: str
    provenance: str  # sha256 of provenance.json


def encode_manifest(entries: Sequence[Entry], meta: Mapping[str, Any]) -> bytes:
    """Canonical JSON. Each entry becomes text by itself: 100,000 of them as one document take much more memory."""
    encode = canonical_encoder().encode
    ordered = sorted(entries, key=lambda entry: entry.name)
    files = ",".join(encode({"name": e.name, "size": e.size, "sha256": e.sha256}) for e in ordered)
    texts = encode(ALGORITHM), files, encode(FORMAT), encode(dict(meta))
    return '{{"algorithm":{},"files":[{}],"format":{},"meta":{}}}'.format(*texts).encode("ascii")


def check_root(manifest: bytes, root: str, *, where: object) -> None:
    """CorruptArtefact unless the bytes have the root digest."""
    if sha256_bytes(manifest) != root:
        raise CorruptArtefact(where, "its bytes differ from what was committed")


def decode_manifest(data: bytes, *, where: object) -> tuple[tuple[Entry, ...], dict[str, Any]]:
    """Entries and meta of bytes with the right root digest. CorruptArtefact if they name a file outside `data/`."""
    try:
        table = json.loads(data)
        _check_format(table)
        files = (Entry(check_name(f["name"]), int(f["size"]), str(f["sha256"])) for f in table["files"])
        return tuple(files), dict(table["meta"])
    except (*_MALFORMED, StoreError) as error:
        raise CorruptArtefact(where, f"is not a manifest of this format ({error})") from error


def encode_commit(commit: Commit) -> bytes:
    body = {"format": FORMAT, "algorithm": ALGORITHM, **asdict(commit)}
    return canonical_json({**body, "checksum": sha256_bytes(canonical_json(body))}) + b"\n"


def decode_commit(data: bytes, *, where: object) -> Commit:
    """CorruptArtefact unless the bytes are exactly what `encode_commit` makes."""
    try:
        table = json.loads(data)
        _check_format(table)
        commit = Commit(table["key"], table["root"], table["provenance"])
    except _MALFORMED as error:
        raise CorruptArtefact(where, f"is not a commit record of this format ({error})") from error
    if encode_commit(commit) != data:
        raise CorruptArtefact(where, "its bytes differ from what was committed")
    return commit


def _check_format(table: dict[str, Any]) -> None:
    if (table["format"], table["algorithm"]) != (FORMAT, ALGORITHM):
        raise ValueError(f"format {table['format']}, {table['algorithm']}; this version reads {FORMAT}, {ALGORITHM}")
