"""ADE20K, BDD100K, IDD and KITTI in their published layouts: a fixture of each, read and written back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autolabel.classes.files import parse_mask_classes
from autolabel.classes.published import TABLES
from autolabel.config.sources import FolderConfig
from autolabel.data.build import build
from autolabel.data.loaders import load_label
from autolabel.errors import ConfigError
from autolabel.labels.label_set import Statement

LEVEL3 = "{path}/{stem}_gtFine_labellevel3Ids.png"
# data set -> (settings, its image and mask files, ids that mean no class)
LAYOUTS: dict[str, tuple[dict[str, Any], list[tuple[str, str]], list[int]]] = {
    "ade20k": (
        {"masks": "annotations"},
        [(f"images/{s}/ADE_{n}_00000001.jpg", f"annotations/{s}/ADE_{n}_00000001.png") for s, n in
         (("training", "train"), ("validation", "val"))],
        [0],
    ),
    "bdd100k": (
        {"images": "images/10k", "masks": "labels/sem_seg/masks"},
        [(f"images/10k/{s}/0004974f-05e1c285.jpg", f"labels/sem_seg/masks/{s}/0004974f-05e1c285.png") for s in
         ("train", "val")],
        [255],
    ),
    "idd": (
        {"images": "leftImg8bit", "masks": "gtFine", "image_name": "{path}/{stem}_leftImg8bit", "mask_name": LEVEL3},
        [(f"leftImg8bit/{s}/{d}/903127_leftImg8bit.png", f"gtFine/{s}/{d}/903127_gtFine_labellevel3Ids.png") for s, d in
         (("train", "0"), ("val", "119"))],
        [255],
    ),
    "kitti": (
        {"images": "training/image_2", "masks": "training/semantic", "val_share": 0.5},
        [(f"training/image_2/00000{n}_10.png", f"training/semantic/00000{n}_10.png") for n in range(2)],
        [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_layout_is_read_and_written_back(name: str, tmp_path: Path) -> None:
    settings, files, ignored = LAYOUTS[name]
    table = TABLES[name]
    own = list(table.get("ids", range(len(table["names"]))))
    values = np.array([*own, *ignored], np.uint8)
    masks = {}
    generator = np.random.default_rng(len(name))
    (tmp_path / "classes.toml").write_text(f'dataset = "{name}"\n')
    for image, mask in files:
        for file in (image, mask):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(tmp_path / image)
        blocks = generator.choice(values, 192)
        blocks[: len(values)] = values
        masks[mask] = np.kron(blocks.reshape(12, 16), np.ones((4, 4), np.uint8)).astype(np.uint8)
        Image.fromarray(masks[mask]).save(tmp_path / mask)
    config = FolderConfig(source="folder", root=tmp_path, **settings)
    built = build(config, write_many=lambda files: [None for _ in files], quiet=True)
    manifest = built.manifest
    assert sorted(row.split for row in manifest.images) == ["train", "val"]
    assert manifest.classes.names == tuple(table["names"])
    for row in manifest.labels:
        found = load_label(row, {"source": tmp_path}, manifest.classes)
        mask = masks[row.path]
        expected = np.array([own.index(value) if value in own else 255 for value in range(256)], np.uint8)[mask]
        assert (found == expected).all()
        back = np.array([*Statement(manifest.classes, "dataset").values()], np.uint8)
        labelled = found != 255
        assert (back[found[labelled]] == mask[labelled]).all(), "train ids lead back to the ids of the data set"


def test_tables_are_whole() -> None:
    assert {name: len(table["names"]) for name, table in TABLES.items()} == {
        "ade20k": 150,
        "bdd100k": 19,
        "idd": 26,
        "kitti": 19,
    }
    for name in TABLES:
        classes = parse_mask_classes(f'dataset = "{name}"', name).classes
        assert len(set(classes.names)) == len(classes.names) == len(set(classes.palette))
    assert TABLES["ade20k"]["names"][149] == "flag"
    assert dict(zip(TABLES["kitti"]["names"], TABLES["kitti"]["ids"], strict=True))["bicycle"] == 33


def test_a_published_table_with_merged_classes() -> None:
    found = parse_mask_classes('dataset = "idd"\nmerge = { autorickshaw = "car" }\ndrop = ["sky"]', "x")
    assert (found.ids[8], found.ids[25], "autorickshaw" in found.classes.names) == (found.ids[9], 255, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('dataset = "ade"', "did you mean 'ade20k'"),
        ("dataset = 1", "is none of ade20k, bdd100k, idd, kitti"),
        ('dataset = "idd"\nnames = ["a"]', "states the names already"),
    ],
)
def test_what_a_class_file_may_not_say(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_mask_classes(text, "classes.toml")
    assert said in str(caught.value)
