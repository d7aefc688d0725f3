"""Every kind of masks that users bring, as a small set of real files: read as numpy says, or refused with the remedy.

Each set shows the same scenes (`test_findings.scene`): sky above, then house and road, and a car on the road. A kind
that is neither read right nor refused would be misread, and fails here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from autolabel.classes import IGNORE
from autolabel.config.sources import FolderConfig, MapillaryConfig
from autolabel.data.build import build
from autolabel.data.loaders import load_label
from autolabel.errors import DataError
from tests.data.image_files import encoded, noise_image, put
from tests.data.test_findings import HEIGHT, NAMES, NUMBER, WIDTH, scene

COLOURS = np.array([(70, 130, 180), (70, 70, 70), (128, 64, 128), (0, 0, 142)], np.uint8)
Map = np.ndarray


class Kind(NamedTuple):
    """`mask` makes the bytes of a mask file; `says` is the text of a refusal, None where the masks are read."""

    mask: Callable[[Map], bytes]
    classes: str = ""  # lines of the class file beside the names
    suffix: str = ".png"
    settings: Mapping[str, Any] = MappingProxyType({})  # of the data
    says: str | None = None
    names: tuple[str, ...] = NAMES
    expected: Callable[[Map], Map] = lambda scene: scene  # train ids of a scene


def png(change: Callable[[Map], Map]) -> Callable[[Map], bytes]:
    return lambda scene: encoded(change(scene))


def values(*ids: int) -> Callable[[Map], Map]:
    """The id of each class of the scenes."""
    table = np.array(ids, np.uint16 if max(ids) > 255 else np.uint8)
    return lambda scene: table[scene]


def palette(scene: Map, colours: Map = COLOURS, order: tuple[int, ...] = (0, 1, 2, 3)) -> bytes:
    image = Image.fromarray(np.array(order, np.uint8)[scene], "L")
    table = np.zeros((256, 3), np.uint8)
    table[list(order)] = colours
    image.putpalette(table.ravel().tolist())
    sink = BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def through(kind: str, **options: object) -> Callable[[Map], Map]:
    """The pixels after a lossy format."""

    def decoded(scene: Map) -> Map:
        return np.array(Image.open(BytesIO(encoded(scene * 60, kind, **options))).convert("L"))

    return decoded


def anti_aliased(scene: Map) -> Map:
    small = Image.fromarray(scene * 60).resize((23, 17), Image.Resampling.BILINEAR)
    return np.array(small.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))


def turned_by_exif(scene: Map) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = 3
    return encoded(scene, exif=tags)


def cmyk(pixels: Map) -> bytes:
    sink = BytesIO()
    Image.fromarray(pixels, "CMYK").save(sink, "TIFF")
    return sink.getvalue()


def object_only(scene: Map) -> Map:
    return (scene == 3).astype(np.uint8)


def opaque(colours: Map) -> Map:
    """RGBA"""
    return np.dstack([colours, np.full(colours.shape[:2], 255, np.uint8)])


def bits(scene: Map) -> Map:
    """BDD100K's instances: R the class, G its attributes, B and A the number of the instance."""
    zeros = np.zeros_like(scene)
    return np.dstack([scene + 1, zeros, zeros, (scene == 3).astype(np.uint8)])


def panoptic(scene: Map) -> Map:
    """COCO's segment ids, R + 256 G + 65536 B."""
    return np.dstack([scene * 11 + 1, scene * 3, np.zeros_like(scene)])


INSTANCES_256 = r"instances, id \* 256 \+ number"
PALETTE = f"palette = {COLOURS.tolist()}"
DATA_SET = {"names": ()}
KINDS = {
    "grey ids": Kind(png(values(0, 1, 2, 3))),
    "grey ids of one's own": Kind(png(values(7, 30, 2, 255)), "ids = [7, 30, 2, 255]\nignored_ids = []"),
    "palette, by index": Kind(palette, settings={"mask_values": "indices"}),
    "palette, by colour": Kind(
        lambda scene: palette(scene, order=(9, 3, 0, 200)), PALETTE, settings={"mask_values": "colours"}
    ),
    "palette for ids": Kind(palette, says=r"is a palette mask; set data\.mask_values"),
    "RGB": Kind(png(lambda scene: COLOURS[scene]), PALETTE, settings={"mask_values": "colours"}),
    "RGB for ids": Kind(png(lambda scene: COLOURS[scene]), says=r"is a colour mask; set data\.mask_values = .colours."),
    "BGR": Kind(
        png(lambda scene: np.ascontiguousarray(COLOURS[scene][..., ::-1])), PALETTE,
        settings={"mask_values": "colours"},
        says=r"values that no class has: colour \(142, 0, 0\), colour \(180, 130, 70\).*palette",
    ),
    "0 and 255, stated": Kind(
        png(lambda scene: object_only(scene) * 255), "ids = [0, 255]\nignored_ids = []",
        names=("background", "car"), expected=object_only,
    ),
    "0 and 255": Kind(
        png(lambda scene: object_only(scene) * 255), names=("background", "car"), says=r"write ids = \[0, 255\]"
    ),
    "CMYK": Kind(
        lambda scene: cmyk(np.dstack([scene] * 4)), suffix=".tif", says="pixels of mode 'CMYK'.*export the masks as PNG"
    ),
    "GIF": Kind(lambda scene: encoded(scene, "GIF"), suffix=".gif", says=r"6 file\(s\) in masks/ .* \.gif is not read"),
    "16-bit PNG": Kind(png(values(0, 300, 2000, 65535)), "ids = [0, 300, 2000, 65535]\nignored_ids = []"),
    "instance ids": Kind(
        png(values(0, 1000, 2000, 3001)), says=r"instances, id \* 1000 \+ number; name masks of class ids in data.masks"
    ),
    "ids of 16 bits": Kind(png(values(0, 1, 2, 3001)), says="values that no class has: id 3001; write them into"),
    "TIFF": Kind(lambda scene: encoded(scene, "TIFF", compression="tiff_lzw"), suffix=".tif"),
    "16-bit TIFF": Kind(
        lambda scene: encoded(scene.astype(np.uint16) * 300, "TIFF"), "ids = [0, 300, 600, 900]", suffix=".tiff"
    ),
    "lossless WebP": Kind(lambda scene: encoded(np.dstack([scene] * 3), "WEBP", lossless=True), suffix=".webp"),
    "lossy WebP": Kind(
        lambda scene: encoded(np.dstack([scene * 60] * 3), "WEBP"), suffix=".webp", says="lossy.*export the masks"
    ),
    "AVIF": Kind(lambda scene: encoded(np.dstack([scene] * 3), "AVIF"), suffix=".avif", says="export the masks as PNG"),
    "ids from 1": Kind(png(values(1, 2, 3, 4)), says=r"write ids = \[1, 2, 3, 4\]"),
    "0 outside all classes": Kind(
        png(lambda scene: np.where(scene == 0, 0, scene + 1).astype(np.uint8)),
        says="0 may be the background.*write ids"
    ),
    "the first class never": Kind(
        png(values(1, 1, 2, 3)), says="the ids may count from 1, shifted by one"
    ),
    "JPEG": Kind(lambda scene: encoded(scene * 60, "JPEG"), suffix=".jpg", says="export the masks as PNG"),
    "JPEG saved again": Kind(
        png(through("JPEG", quality=80)), "ids = [0, 60, 120, 180]", says="smoothed, resized or saved with loss"
    ),
    "anti-aliased": Kind(png(anti_aliased), "ids = [0, 60, 120, 180]", says="nearest neighbour, PNG"),
    "EXIF of the mask alone": Kind(turned_by_exif, says=r"EXIF orientation 3.*data\.mask_orientation = .shown."),
    "EXIF, stated": Kind(
        turned_by_exif, settings={"mask_orientation": "shown"}, expected=lambda scene: scene[::-1, ::-1]
    ),
    "half the size": Kind(png(lambda scene: scene[::2, ::2]), says="another size than their image.*nearest neighbour"),
    "other aspect": Kind(png(lambda scene: scene[:, :-9]), says="another aspect ratio.*export them again"),
    "VOC, border 255": Kind(
        lambda scene: palette(np.where(scene == 1, 3, scene), COLOURS, (1, 2, 3, 255)), "ids = [1, 2, 3]",
        settings={"mask_values": "indices"}, names=("sky", "house", "road"),
        expected=lambda scene: np.where(np.isin(scene, (1, 3)), IGNORE, scene),
    ),
    "ADE20K": Kind(png(values(3, 2, 7, 21)), 'dataset = "ade20k"', **DATA_SET),
    "BDD100K": Kind(png(values(10, 2, 0, 13)), 'dataset = "bdd100k"', **DATA_SET),
    "IDD": Kind(png(values(25, 22, 0, 9)), 'dataset = "idd"', **DATA_SET),
    "KITTI": Kind(png(values(23, 11, 7, 26)), 'dataset = "kitti"', **DATA_SET),
    "KITTI in colours": Kind(
        png(lambda scene: COLOURS[scene]), 'dataset = "kitti"', settings={"mask_values": "colours"}, **DATA_SET
    ),
    "KITTI instances": Kind(
        png(values(23 * 256, 11 * 256, 7 * 256, 26 * 256 + 1)), 'dataset = "kitti"', says=INSTANCES_256, **DATA_SET
    ),
    "Cityscapes instances": Kind(
        png(values(23, 11, 24001, 26001)), 'dataset = "kitti"', says=r"instances, id \* 1000 \+ number", **DATA_SET
    ),
    "Mapillary instances": Kind(png(values(0, 256, 512, 769)), says=INSTANCES_256),
    "BDD100K in colours": Kind(
        png(lambda scene: opaque(COLOURS[scene])), 'dataset = "bdd100k"',
        settings={"mask_values": "colours"}, **DATA_SET
    ),
    "BDD100K bit masks": Kind(png(bits), 'dataset = "bdd100k"', says="is a colour mask", **DATA_SET),
    "BDD100K bit masks for colours": Kind(
        png(bits), 'dataset = "bdd100k"', settings={"mask_values": "colours"},
        says=r"is blended.*without smoothing, or name masks of ids or colours in data\.masks", **DATA_SET
    ),
    "COCO panoptic": Kind(png(panoptic), says="is a colour mask"),
    "IDD in ids of another level": Kind(
        png(values(39, 34, 0, 12)), 'dataset = "idd"', says="values that no class has: id 34, id 39", **DATA_SET
    ),
    "train ids for the ids of Cityscapes": Kind(
        png(values(10, 2, 0, 13)), 'dataset = "kitti"', says="train ids", **DATA_SET
    ),
}  # fmt: skip
PUBLISHED = ("sky", "building", "road", "car")  # what sky, house, road and car of the scenes are called there


def folder(root: Path, kind: Kind) -> FolderConfig:
    names = f"names = {list(kind.names)}\n" if kind.names else ""
    put(root / "classes.toml", f"{names}{kind.classes}\n".encode())
    for number in range(NUMBER):
        put(root / f"images/{number}.png", encoded(noise_image(number, height=HEIGHT, width=WIDTH)))
        put(root / f"masks/{number}{kind.suffix}", kind.mask(scene(number)))
    return FolderConfig(source="folder", root=root, **kind.settings)


def read(config: FolderConfig | MapillaryConfig, scratch: Path) -> tuple[tuple[str, ...], dict[str, Map]]:
    """The classes, and the train ids of each image as training reads them. Raises DataError."""
    made = build(config, write_many=lambda files: [put(scratch / n, x) for n, x in files], jobs=1, quiet=True).manifest
    roots = {"source": config.root, "data": scratch}
    return made.classes.names, {row.image_id: load_label(row, roots, made.classes) for row in made.labels}


@pytest.mark.parametrize("name", KINDS)
def test_masks(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    if kind.says is not None:
        with pytest.raises(DataError, match=kind.says):
            read(folder(tmp_path, kind), tmp_path / "scratch")
        return
    names, found = read(folder(tmp_path, kind), tmp_path / "scratch")
    assert len(found) == NUMBER
    published = np.array([*(names.index(each) for each in PUBLISHED if each in names), *[IGNORE] * 252])
    for number in range(NUMBER):
        expected = kind.expected(scene(number)) if kind.names else published[scene(number)]
        np.testing.assert_array_equal(found[str(number)], expected)


@pytest.mark.parametrize(("version", "layout"), [("v1.2", "labels"), ("v1.2", "v1.2/labels"), ("v2.0", "v2.0/labels")])
def test_mapillary(version: str, layout: str, tmp_path: Path) -> None:
    """Indices of a palette are positions in the config file; its classes that are not evaluated are ignored."""
    order = (9, 3, 0, 5)
    rows = [{"name": f"c--{k}", "readable": f"c{k}", "color": [k, 0, 1], "evaluate": k != 3} for k in range(10)]
    name = "config.json" if layout == "labels" else f"config_{version}.json"
    put(tmp_path / name, json.dumps({"labels": rows}).encode())
    for number in range(4):
        split = "validation" if number == 3 else "training"
        put(tmp_path / split / f"images/{number}.jpg", encoded(noise_image(number, height=HEIGHT, width=WIDTH), "JPEG"))
        put(tmp_path / split / layout / f"{number}.png", palette(scene(number), order=order))
    (tmp_path / "testing/images").mkdir(parents=True)
    names, found = read(MapillaryConfig(source="mapillary", root=tmp_path, version=version), tmp_path / "scratch")
    expected = np.array([names.index(f"c--{k}") if k != 3 else IGNORE for k in order])
    assert len(found) == 4
    for number in range(4):
        np.testing.assert_array_equal(found[str(number)], expected[scene(number)])
