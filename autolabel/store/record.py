"""The two files that make a folder an artefact: manifest.json (what is in it) and COMMIT (that it is complete).

The root digest is the sha256 of manifest.json, which holds the sorted entries of `data/` and the `meta` of the stage.
COMMIT holds the root digest, the key, and the digest of provenance.json (kept out of the root, as it differs from run
to run). Both files have exactly one valid form, so that any changed bit shows.
"""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

from autolabel.errors import CorruptArtefact, StoreError
from autolabel.store.files import ALGORITHM, Bytes, canonical_encoder, canonical_json, json_text, sha256_bytes
from autolabel.store.names import check_name

FORMAT = 1
_NUM_DIGEST = 32  # bytes of a digest

# Raised by JSON of another shape.
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


@dataclass(frozen=True, order=True, slots=True)
class Entry:
    """One file of `data/`."""

    name: str
    size: int
    sha256: str


class Entries(Sequence[Entry]):
    """The files of an artefact by name, in columns: as objects, 100,000 of them take 20 MB more."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.names: list[str] = []
        self.sizes, self._digests = array("q"), bytearray()
        for entry in sorted(entries):
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Raises ValueError unless its name comes after all others and its digest is one."""
        if self.names and entry.name <= self.names[-1]:
            raise ValueError(f"{entry.name!r} is out of order")
        if len(digest := bytes.fromhex(entry.sha256)) != _NUM_DIGEST:
            raise ValueError(f"{entry.sha256!r} is no digest")
        self.names.append(entry.name)
        self.sizes.append(entry.size)
        self._digests += digest

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        at = range(len(self))[index]
        digest = self._digests[_NUM_DIGEST * at : _NUM_DIGEST * (at + 1)]
        return Entry(self.names[at], self.sizes[at], digest.hex())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as that of a list

    def position(self, name: str) -> int | None:
        """The index of the file of this name; None if there is none."""
        at = bisect_left(self.names, name)
        return at if at < len(self.names) and self.names[at] == name else None

    def named(self, name: str) -> Entry | None:
        """The file of this name, if there is one."""
        at = self.position(name)
        return None if at is None else self[at]


@dataclass(frozen=True)
class Commit:
    key: str
    root: str
    provenance: str  # sha256 of provenance.json


_HEAD = b'{"algorithm":"sha256","files":['
_FILE = re.compile(rb'\{"name":"([^"\\]*(?:\\.[^"\\]*)*)","sha256":"([0-9a-f]{64})","size":([0-9]+)\},?')


def encode_manifest(entries: Iterable[Entry], meta: Mapping[str, Any]) -> Bytes:
    """Canonical JSON. Each entry becomes text by itself: 100,000 of them as one document take much more memory."""
    encode = canonical_encoder().encode
    text = bytearray(_HEAD)
    for number, entry in enumerate(entries if isinstance(entries, Entries) else Entries(entries)):
        text += b"," if number else b""
        text += encode({"name": entry.name, "size": entry.size, "sha256": entry.sha256}).encode("ascii")
    text += f'],"format":{encode(FORMAT)},"meta":{encode(dict(meta))}}}'.encode("ascii")
    return text


def check_root(manifest: bytes, root: str, *, where: object) -> None:
    """CorruptArtefact unless the bytes have the root digest."""
    if sha256_bytes(manifest) != root:
        raise CorruptArtefact(where, "its bytes differ from what was committed")


def decode_manifest(data: bytes, *, where: object) -> tuple[Entries, dict[str, Any]]:
    """Entries and meta of bytes with the right root digest. CorruptArtefact if they name a file outside `data/`."""
    try:
        head = _HEAD if data.startswith(_HEAD) else b""
        entries, at = Entries(), len(head)
        while file := _FILE.match(data, at):
            entries.add(Entry(check_name(json_text(file[1])), int(file[3]), file[2].decode()))
            at = file.end()
        table = json.loads(head + data[at:])
        _check_format(table)
        if table["files"]:
            raise ValueError("a file is not described as `encode_manifest` does")
        return entries, dict(table["meta"])
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
