"""Content digests: sha256 of bytes, of files, and of JSON in one canonical form."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from autolabel.given import open_regular

ALGORITHM = "sha256"  # recorded beside every digest on disk, so that another one can be told apart later

Bytes = bytes | bytearray | memoryview


def sha256_bytes(data: Bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Digest of a file read in blocks. Raises OSError; follows symbolic links, as a user's data tree may hold them."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, ALGORITHM).hexdigest()


def canonical_json(obj: object) -> bytes:
    """One byte sequence for one value: sorted keys, no spaces, ASCII only. NaN and infinities raise ValueError."""
    return json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def digest_json(obj: object) -> str:
    return sha256_bytes(canonical_json(obj))
