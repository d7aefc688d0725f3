"""Sizes for people, in decimal units (1 kB = 1000 bytes), as disks and papers count."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def decimal_bytes(size: float) -> str:
    """Three significant digits: 15.6 kB, 334 MB, 3.19 TB; whole bytes below 1 kB."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:  # 999.5 would be printed as 1000
        value, unit = value / 1000, unit + 1
    if unit == 0:
        return f"{value:.0f} B"
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f} {_UNITS[unit]}"
