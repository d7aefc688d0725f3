"""Published palettes of colour masks, and the colours that classes get where no file states them."""

from __future__ import annotations

from collections.abc import Sequence

from autolabel.classes.class_set import Colour
from autolabel.classes.known import CLASS_SETS

_VOC_BORDER: Colour = (224, 224, 192)  # id 255 in PASCAL VOC's SegmentationClass: the band around objects
# cityscapesScripts, helpers/labels.py: the colours of labels that are not trained. Polegroup and licence plate have
# the colours of pole and car, so that a colour mask cannot tell them apart.
_CITYSCAPES_IGNORED: tuple[Colour, ...] = (
    (0, 0, 0), (111, 74, 0), (81, 0, 81), (250, 170, 160), (230, 150, 140), (180, 165, 180), (150, 100, 100),
    (150, 120, 90), (0, 0, 90), (0, 0, 110),
)  # fmt: skip


def default_palette(count: int) -> tuple[Colour, ...]:
    """`count` distinct colours: the bits of an index are spread over R, G and B (PASCAL VOC devkit, VOClabelcolormap).

    The first index is 1, because VOC's index 0 is black, which means "no class" here.
    """
    return tuple(_spread(index) for index in range(1, count + 1))


def _spread(index: int) -> Colour:
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (index & 1) << shift
        green |= (index >> 1 & 1) << shift
        blue |= (index >> 2 & 1) << shift
        index >>= 3
    return red, green, blue


def mask_colours(
    palette: Sequence[Sequence[int]] | str | None, names: Sequence[str], ids: Sequence[tuple[int, ...]]
) -> tuple[tuple[Colour, ...] | None, tuple[Colour, ...]]:
    """The colour of each class in colour masks, None if none is stated; and the colours of "no class".

    "voc" gives a class the colour of its id, "cityscapes" that of its name. Raises ValueError.
    """
    if palette is None:
        return None, ()
    if not isinstance(palette, str):
        return tuple((r, g, b) for r, g, b in palette), ()
    if palette == "voc":
        return tuple(_spread(own[0]) for own in ids), (_VOC_BORDER,)
    if palette != "cityscapes":
        raise ValueError(f'palette: no published palette is named {palette!r}, take "voc", "cityscapes" or colours')
    known = dict(zip(CLASS_SETS["cityscapes"].names, CLASS_SETS["cityscapes"].palette, strict=True))
    foreign = next((name for name in names if name not in known), None)
    if foreign is not None:
        raise ValueError(f"palette: Cityscapes has no class {foreign!r}; its classes are {', '.join(known)}")
    left_out = tuple(colour for name, colour in known.items() if name not in names)
    return tuple(known[name] for name in names), (*_CITYSCAPES_IGNORED, *left_out)
