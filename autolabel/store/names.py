"""File names made from ids. A name is safe on every file system, and two ids never meet in one file.

Ids come from foreign data: `../x`, names of 300 characters, newlines, two Unicode forms of one word. `mirror_names`
keeps folders and names as people know them (`front cam/straße.png`). Only a name that some file system refuses, or
takes for a neighbour's, changes; it gets a suffix of `~` and the first digits of a digest (`con` -> `_con~1143da.png`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from unicodedata import normalize

from autolabel.errors import StoreError
from autolabel.store.files import sha256_bytes

MAX_COMPONENT = 255  # bytes of one name, in both normal forms
_MAX_DEPTH, _MAX_BYTES = 16, 800  # of a mirrored path; deeper folders are joined
_NAME_DEPTH, _NAME_BYTES = 20, 2048  # of any name in an artefact

# Control, bidirectional and invisible characters, halves of surrogate pairs, and what Windows forbids.
_UNSAFE = re.compile(
    r"""[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"""
)
_RESERVED = frozenset({"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}) | {
    f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789\u00b9\u00b2\u00b3"
}
_SUFFIXED = re.compile(r"~[0-9a-f]{6,}(\.[^.]*)?")
_DIGITS = (6, 16, 64)  # lengths of the digest in a suffix: the first that keeps all neighbours apart

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SUFFIX = re.compile(r"[A-Za-z0-9._-]{0,40}")
# Nearly all names of an artefact. 20,000 of them are checked at each start, so this is much faster than part by part.
_PLAIN_PART = r"[A-Za-z0-9_-](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?"
_PLAIN = re.compile(rf"{_PLAIN_PART}(?:/{_PLAIN_PART}){{0,9}}")

_Folder = tuple[str, ...]  # the components of its path
_Child = _Folder | str  # an entry of a folder: a folder by its path, a file by its key


def safe_name(id: str, suffix: str = "") -> str:
    """A flat file name of one id: the id or `_` + 40 hex digits of its sha256, then `suffix` (".png").

    Ids that differ only in case give names that differ only in case, which are one file on a case-insensitive disk.
    """
    assert _SUFFIX.fullmatch(suffix), f"unsafe suffix {suffix!r}"
    return (id if _SAFE_ID.fullmatch(id) else "_" + _digest(id)[:40]) + suffix


def mirror_names(paths: Mapping[str, str], ending: str = "") -> dict[str, str]:
    """Key -> file name: the path that the key wants, then `ending` (".png").

    Names stay different where a file system ignores letter case or Unicode form; so do the names of their folders. A
    name depends on the set of keys and paths, not on their order: pass the whole set. Paths may be equal and may hold
    anything; keys differ.
    """
    assert _SUFFIX.fullmatch(ending), f"unsafe ending {ending!r}"
    parts = {key: _parts(path) for key, path in paths.items()}
    folders: defaultdict[_Folder, dict[_Child, tuple[str, str]]] = defaultdict(dict)  # entries: (name, ending)
    for key, path in parts.items():
        for depth in range(1, len(path)):
            folders[path[: depth - 1]][path[:depth]] = (path[depth - 1], "")
        folders[path[:-1]][key] = (path[-1], ending)
    names = {child: name for entries in folders.values() for child, name in _neighbours(entries).items()}
    above = {key: [names[path[:depth]] for depth in range(1, len(path))] for key, path in parts.items()}
    return {key: "/".join([*above[key], names[key]]) for key in parts}


def fold(name: str) -> str:
    """Equal for names that differ in letter case or Unicode form only (Unicode 15, D147, and upper case)."""
    return _caseless(_caseless(name).upper())


def check_name(name: str) -> str:
    """The name itself if it is a relative path of safe components ("labels/x.png"), else StoreError."""
    if _PLAIN.fullmatch(name):
        return name
    parts = name.split("/")
    if len(parts) > _NAME_DEPTH or not all(map(_is_safe, parts)) or len(name.encode()) > _NAME_BYTES:
        raise StoreError(repr(name), "is not a safe file name", "make it with mirror_names() or safe_name()")
    return name


def _is_safe(part: str) -> bool:
    dots = part.startswith(".") or part.endswith((".", " "))
    return bool(part) and not dots and not _UNSAFE.search(part) and _num_bytes(part) <= MAX_COMPONENT


def _caseless(name: str) -> str:
    return normalize("NFKD", normalize("NFKD", name).casefold())


def _parts(path: str) -> _Folder:
    """The components of a path; where there are too many or they are too long, inner folders become one component."""
    *above, last = path.split("/")
    parts, kept = [*above, last], len(above)
    while len(parts) > _MAX_DEPTH or (kept and sum(1 + min(_num_bytes(x), MAX_COMPONENT) for x in parts) > _MAX_BYTES):
        kept = min(kept, _MAX_DEPTH - 1) - 1
        parts = [*above[:kept], "/".join(above[kept:]), last]
    return tuple(parts)


def _neighbours(entries: Mapping[_Child, tuple[str, str]]) -> dict[_Child, str]:
    """The names of the entries of one folder."""
    names = {child: _cleaned(*wanted) for child, wanted in entries.items()}
    folded = {child: fold(name) for child, name in names.items()}
    count = Counter(folded.values())
    changed = [
        child
        for child, name in names.items()
        if name != "".join(entries[child]) or count[folded[child]] > 1 or _SUFFIXED.search(folded[child])
    ]
    for digits in _DIGITS:
        suffixed = {child: _cleaned(*entries[child], suffix=_suffix(child, digits)) for child in changed}
        if len(set(map(fold, suffixed.values()))) == len(suffixed):
            break
    return names | suffixed


def _suffix(child: _Child, digits: int) -> str:
    return "~" + _digest(child if isinstance(child, str) else "/".join((*child, "")))[:digits]


def _cleaned(name: str, ending: str, *, suffix: str = "") -> str:
    """The name with its ending; each character that a file system may refuse becomes `_`."""
    name = _UNSAFE.sub("_", name) or "_"
    if name.startswith("."):
        name = "_" + name[1:]
    if not ending:
        name = re.sub(r"[. ]+$", "_", name)
    if name.split(".")[0].rstrip(" ").upper() in _RESERVED:
        name = "_" + name
    while _num_bytes(name) > MAX_COMPONENT - len(suffix + ending):
        name = name[:-1]
    return name + suffix + ending


def _num_bytes(name: str) -> int:
    """Bytes in UTF-8 in the longer of both normal forms; macOS may store the decomposed one."""
    if name.isascii():
        return len(name)
    return max(len(text.encode("utf-8", "surrogatepass")) for text in (name, normalize("NFD", name)))


def _digest(id: str) -> str:
    # surrogatepass: an id taken from a file name may hold bytes that are not UTF-8
    return sha256_bytes(id.encode("utf-8", "surrogatepass"))
