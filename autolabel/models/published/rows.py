"""How a key map is written: rows of (pattern of a layer's path in our network, its published name)."""

from __future__ import annotations

import re
from collections.abc import Callable

Row = tuple[str, str]
AnyRow = tuple[str, str | Callable[[re.Match[str]], str]]  # the name, or what makes it of the path


def conv_norms(*rows: tuple[str, str, str]) -> tuple[Row, ...]:
    """(pattern of a `ConvNorm`, its convolution, its batch norm): one module here, two entries there."""
    return tuple(row for path, conv, norm in rows for row in ((rf"{path}\.conv", conv), (rf"{path}\.norm", norm)))
