"""Class tables of published data sets, for class files: names and ids as their masks have them.

ADE20K: the 150 classes of SceneParse150 (Zhou et al. 2017, objectInfo150), 0 is "other". BDD100K: masks of train ids.
KITTI semantics: the ids of Cityscapes. IDD: `level3Id` of AutoNUE's `anue_labels.py`, the ids of its benchmark.
Tables of names and ids are facts; the licences of the data sets are their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autolabel.classes.class_set import IGNORE, Colour
from autolabel.classes.known import CLASS_SETS
from autolabel.suggest import did_you_mean

_ADE20K = """wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth,
door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field,
armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard,
chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case,
pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill,
bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel,
light, truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane, dirt track, apparel, pole,
land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer,
plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank,
trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase,
traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock,
flag"""

# (name, colour) by level3Id; the names that share one are in the comment. Two of its colours are those of other
# classes, so colour masks of IDD cannot tell all classes apart.
_IDD: tuple[tuple[str, Colour], ...] = (
    ("road", (128, 64, 128)),
    ("drivable fallback", (81, 0, 81)),  # parking
    ("sidewalk", (244, 35, 232)),
    ("non-drivable fallback", (152, 251, 152)),  # rail track
    ("person", (220, 20, 60)),  # animal
    ("rider", (255, 0, 0)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
    ("autorickshaw", (255, 204, 54)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("vehicle fallback", (136, 143, 153)),  # caravan, trailer, train
    ("curb", (220, 190, 40)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("guard rail", (180, 165, 180)),
    ("billboard", (174, 64, 67)),
    ("traffic sign", (220, 220, 0)),
    ("traffic light", (250, 170, 30)),
    ("pole", (153, 153, 153)),  # polegroup
    ("obs-str-bar-fallback", (169, 187, 214)),
    ("building", (70, 70, 70)),
    ("bridge", (150, 100, 100)),  # tunnel
    ("vegetation", (107, 142, 35)),
    ("sky", (70, 130, 180)),  # fallback background
)


def _ade20k() -> dict[str, Any]:
    names = [name.strip() for name in _ADE20K.replace("\n", " ").split(",")]
    return {"names": names, "ids": list(range(1, len(names) + 1)), "ignored_ids": [0]}


def _cityscapes(*, train_ids: bool) -> dict[str, Any]:
    classes = CLASS_SETS["cityscapes"]
    ids = list(range(classes.num_classes)) if train_ids else list(classes.ids)
    ignored = [IGNORE] if train_ids else [*classes.ignored_ids, IGNORE]
    return {"names": list(classes.names), "ids": ids, "palette": _lists(classes.palette), "ignored_ids": ignored}


def _lists(palette: tuple[Colour, ...]) -> list[list[int]]:
    return [list(colour) for colour in palette]


TABLES: Mapping[str, Mapping[str, Any]] = {
    "ade20k": _ade20k(),
    "bdd100k": _cityscapes(train_ids=True),
    "idd": {
        "names": [name for name, _ in _IDD],
        "palette": [list(colour) for _, colour in _IDD],
        "ignored_ids": [IGNORE],
    },
    "kitti": _cityscapes(train_ids=False),
}


def with_published(table: Mapping[str, Any]) -> dict[str, Any]:
    """A class file's table with the entries of the data set that its key `dataset` names. Raises ValueError."""
    if "dataset" not in table:
        return dict(table)
    rest = {key: value for key, value in table.items() if key != "dataset"}
    name = table["dataset"]
    if not isinstance(name, str) or name not in TABLES:
        hint = did_you_mean(name, TABLES) if isinstance(name, str) else ""
        raise ValueError(f"dataset: {name!r} is none of {', '.join(TABLES)}" + (f", {hint}" if hint else ""))
    twice = sorted(rest.keys() & {"names", "ids", "palette"})
    if twice:
        raise ValueError(f"dataset = {name!r} states the {twice[0]} already: remove that key")
    return {"name": name, **TABLES[name], **rest}
