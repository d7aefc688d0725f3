"""File names made from ids. An id is its own file name only if it is harmless on every file system.

Ids come from foreign data: `../x`, names of 300 characters, newlines, two Unicode forms of one word. An id of the
safe pattern stays readable; any other becomes `_` and a digest, and the manifest holds the id. No safe id starts with
`_`, so the two forms never collide.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from autolabel.errors import StoreError
from autolabel.store.files import sha256_bytes

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SUFFIX = re.compile(r"[A-Za-z0-9._-]{0,40}")
_COMPONENT = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}"  # an id or its digest, with a suffix
_NAME = re.compile(rf"{_COMPONENT}(/{_COMPONENT})*")


def safe_name(id: str, suffix: str = "") -> str:
    """File name of one id: the id or `_` + 40 hex digits of its sha256, then `suffix` (".png").

    Ids that differ only in case give names that differ only in case, which are one file on a case-insensitive disk.
    Name foreign ids together, with `safe_names`.
    """
    assert _SUFFIX.fullmatch(suffix), f"unsafe suffix {suffix!r}"
    return (id if _SAFE_ID.fullmatch(id) else _digest_name(id)) + suffix


def safe_names(ids: Iterable[str], suffix: str = "") -> dict[str, str]:
    """id -> file name, unique even if case is ignored: ids that differ only in case all become digests.

    A name depends on the whole set of ids, so pass the whole set (a manifest's), not a subset.
    """
    unique = dict.fromkeys(ids)
    folded = Counter(id.lower() for id in unique if _SAFE_ID.fullmatch(id))
    return {id: _digest_name(id) + suffix if folded[id.lower()] > 1 else safe_name(id, suffix) for id in unique}


def check_name(name: str) -> str:
    """The name itself if it is a relative path of safe components ("auto/x.png"), else StoreError."""
    if not _NAME.fullmatch(name):
        raise StoreError(repr(name), "is not a safe file name", "make it with safe_name()")
    return name


def _digest_name(id: str) -> str:
    # surrogatepass: an id taken from a file name may hold bytes that are not UTF-8
    return "_" + sha256_bytes(id.encode("utf-8", "surrogatepass"))[:40]
