"""TOML from strangers: parsed in time that is linear in its length."""

from __future__ import annotations

import re
import tomllib
from typing import Any

# A string or comment, to its end on the line; possessive, so that the search takes linear time.
_STRING = re.compile(r""""(?:\\.|[^"\\\n])*+"?|'[^'\n]*+'?|#[^\n]*+""")
# A key starts where no letter is before it: a search from every letter of a long word would take quadratic time.
_DOTTED = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]++(?:[ \t]*+\.[ \t]*+[A-Za-z0-9_-]++)++")
_MAX_PARTS = 16


def parse_toml(text: str) -> dict[str, Any]:
    """The document. Raises ValueError, in bounded time: tomllib takes quadratic time for `a.a.a...`."""
    bare = _STRING.sub("x", text)
    if any(match[0].count(".") >= _MAX_PARTS for match in _DOTTED.finditer(bare)):
        raise ValueError(f"a key has more than {_MAX_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
