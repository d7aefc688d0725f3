"""The built-in class sets."""

from __future__ import annotations

from autolabel.classes.class_set import IGNORE, ClassSet, Colour

# cityscapesScripts, helpers/labels.py: (name, id, colour) in train-id order.
_CITYSCAPES: tuple[tuple[str, int, Colour], ...] = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)

# SegNet tutorial, 11 classes and void.
_CAMVID: tuple[tuple[str, Colour], ...] = (
    ("Sky", (128, 128, 128)),
    ("Building", (128, 0, 0)),
    ("Pole", (192, 192, 128)),
    ("Road", (128, 64, 128)),
    ("Pavement", (60, 40, 222)),
    ("Tree", (128, 128, 0)),
    ("SignSymbol", (192, 128, 128)),
    ("Fence", (64, 64, 128)),
    ("Car", (64, 0, 128)),
    ("Pedestrian", (64, 64, 0)),
    ("Bicyclist", (0, 128, 192)),
)

# Rendered scenes (streetscenes), in the colours of Cityscapes.
_SYNTHETIC: tuple[tuple[str, Colour], ...] = (
    ("road", (128, 64, 128)),
    ("pavement", (244, 35, 232)),
    ("building", (70, 70, 70)),
    ("sky", (70, 130, 180)),
    ("vegetation", (107, 142, 35)),
    ("pole", (153, 153, 153)),
    ("sign", (220, 220, 0)),
    ("car", (0, 0, 142)),
    ("person", (220, 20, 60)),
)


def _cityscapes() -> ClassSet:
    names, ids, palette = zip(*_CITYSCAPES, strict=True)
    # Ids end at 33. 255 stays illegal, so that a train-id map under a labelIds name is detected.
    ignored = tuple(i for i in range(34) if i not in ids)
    return ClassSet("cityscapes", names, palette, ids, ignored)


def _plain(name: str, table: tuple[tuple[str, Colour], ...], ignored: int) -> ClassSet:
    names, palette = zip(*table, strict=True)
    return ClassSet(name, names, palette, tuple(range(len(names))), (ignored,))


CLASS_SETS: dict[str, ClassSet] = {
    "cityscapes": _cityscapes(),
    "camvid": _plain("camvid", _CAMVID, ignored=11),
    "synthetic": _plain("synthetic", _SYNTHETIC, ignored=IGNORE),
}
