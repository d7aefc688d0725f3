"""Find images and masks by the templates of their names, and tell which belong together.

A template such as "{path}/{stem}_mask.png" describes a path below a folder. {stem} is the text that an image has in
common with its masks, and {path} stands for any folders, or none. Without a suffix every readable one fits. Names that
are the same word in two Unicode forms count as equal.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from autolabel.data.sources.listing import IMAGE_SUFFIXES
from autolabel.errors import ConfigError, DataError

Key = tuple[str, str]  # folders and stem, in Unicode's composed form
_PLACEHOLDER = re.compile(r"\{[^}]*\}|[{}]")


@dataclass(frozen=True)
class Template:
    """A compiled template. `has_path`: masks of equal stems in different folders are told apart."""

    text: str
    pattern: re.Pattern[str]
    has_path: bool

    def key(self, path: str) -> Key | None:
        """The key of a path, or None if it does not fit."""
        match = self.pattern.fullmatch(path)
        if match is None:
            return None
        fields = match.groupdict()
        return _composed((fields.get("path") or "").strip("/")), _composed(fields["stem"])


def template(text: str, where: str) -> Template:
    """Compile a template; `where` is the setting. Raises ConfigError."""
    fields = _PLACEHOLDER.findall(text)
    if fields.count("{stem}") != 1 or fields.count("{path}") > 1 or set(fields) - {"{stem}", "{path}"}:
        remedy = 'write a template such as "{path}/{stem}_mask.png"'
        raise ConfigError(where, f"{text!r} must hold {{stem}} once and may hold {{path}} once", remedy)
    if text.startswith("/") or ".." in text.split("/"):
        raise ConfigError(where, f"{text!r} leaves its folder", "name a place below it")
    pattern = re.escape(text).replace(r"\{stem\}", "(?P<stem>[^/]+)")
    # "{path}/" also stands for no folder at all.
    pattern = pattern.replace(r"\{path\}/", "(?P<path>(?:.+/)?)").replace(r"\{path\}", "(?P<path>.+)")
    if PurePosixPath(text).suffix.lower() not in IMAGE_SUFFIXES:
        pattern += f"(?i:{'|'.join(map(re.escape, IMAGE_SUFFIXES))})"
    return Template(text, re.compile(pattern, re.DOTALL), "{path}" in fields)


def by_key(paths: Iterable[str], names: Template, where: object) -> dict[Key, str]:
    """Key -> path, for the paths that fit. Raises DataError for two files of one key."""
    found: dict[Key, str] = {}
    for path in paths:
        key = names.key(path)
        if key is None:
            continue
        if key in found:
            forms = "are the same name in two Unicode forms" if _composed(path) == _composed(found[key]) else ""
            what = f"{found[key]!r} and {path!r} {forms or 'have the same name'}"
            raise DataError(where, what + ("" if not forms else f" ({path!a})"), "keep one of them")
        found[key] = path
    return found


def pair(
    images: Mapping[Key, str], masks: Mapping[Key, str], names: Template, where: object
) -> tuple[dict[str, str], list[str]]:
    """Image path -> mask path, and the masks without an image. Raises DataError for two images of one mask."""
    claims: dict[Key, str] = {}
    for key, path in images.items():
        wanted = key if names.has_path else ("", key[1])
        if wanted in claims and wanted in masks:
            what = f"{masks[wanted]!r} belongs to two images, {claims[wanted]!r} and {path!r}"
            raise DataError(where, what, "put the masks into folders as the images, and {path} into data.mask_name")
        claims.setdefault(wanted, path)
    pairs = {claims[key]: mask for key, mask in masks.items() if key in claims}
    return pairs, [mask for key, mask in masks.items() if key not in claims]


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
