"""Classes that a user names."""

from __future__ import annotations

from collections.abc import Sequence

from autolabel.errors import ConfigError
from autolabel.suggest import did_you_mean


def id_of_name(name: str, names: Sequence[str], *, where: str) -> int:
    """The train id of the class that the setting `where` names. Raises ConfigError."""
    if name not in names:
        remedy = did_you_mean(name, names) or f"classes are {', '.join(names)}"
        raise ConfigError(where, f"no class is named {name!r}", remedy)
    return names.index(name)
