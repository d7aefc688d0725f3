"""Classes that a user names."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from autolabel.errors import ConfigError


def id_of_name(name: str, names: Sequence[str], *, where: str) -> int:
    """The train id of the class that the setting `where` names. Raises ConfigError."""
    if name not in names:
        near = get_close_matches(name, names, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"classes are {', '.join(names)}"
        raise ConfigError(where, f"no class is named {name!r}", remedy)
    return names.index(name)
