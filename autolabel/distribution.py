"""The name under which this package is installed. It differs from the import name, which is another project's on PyPI."""

from __future__ import annotations

DISTRIBUTION = "autolabel-seg"


def install_command(extra: str) -> str:
    """The command that adds an optional part: pip finds the installed package and only adds what the extra lists."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"
