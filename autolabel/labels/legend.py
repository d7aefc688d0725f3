"""The legend of a label set as an image: colour, value and name of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from autolabel.classes.class_set import Colour

_ROW, _SWATCH, _GAP, _TEXT = 24, 36, 8, 15  # pixels: height of a row, width of a colour, margin, letter height
_ROWS = 32  # of one column
_MAX_LETTERS = 48  # of one name
_PAPER, _INK = (255, 255, 255), (38, 39, 43)


def legend(entries: Sequence[tuple[int, str, Colour]]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB with one line per (value, name, colour), in columns."""
    font = ImageFont.load_default(_TEXT)
    lines = [_shortened(f"{value}  {name}") for value, name, _ in entries]
    width = 3 * _GAP + _SWATCH + max(round(font.getlength(line)) for line in lines)
    columns, rows = -(-len(lines) // _ROWS), min(len(lines), _ROWS)
    sheet = Image.new("RGB", (columns * width + _GAP, rows * _ROW + 2 * _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (line, (_, _, colour)) in enumerate(zip(lines, entries, strict=True)):
        column, row = divmod(number, _ROWS)
        x, y = _GAP + column * width, _GAP + row * _ROW
        draw.rectangle((x, y + 2, x + _SWATCH, y + _ROW - 4), fill=colour, outline=_INK)
        draw.text((x + _SWATCH + _GAP, y), line, fill=_INK, font=font)
    return np.asarray(sheet)


def _shortened(line: str) -> str:
    printable = "".join(letter if letter.isprintable() else "?" for letter in line)
    return printable if len(printable) <= _MAX_LETTERS else printable[: _MAX_LETTERS - 3] + "..."
