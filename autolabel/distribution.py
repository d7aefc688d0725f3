"""The name under which the package is installed. On PyPI the import name is the name of another project."""

from __future__ import annotations

DISTRIBUTION = "autolabel-seg"


def install_command(extra: str) -> str:
    """The command that adds an optional part: pip finds the installed package and only adds what the extra lists."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"
