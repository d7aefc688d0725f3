"""pycocotools and its evaluator on our COCO files, and our reader on what pycocotools writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from autolabel.classes import IGNORE
from autolabel.formats import coco_rle
from autolabel.formats.base import ImportOptions
from autolabel.formats.canvas import Canvas
from autolabel.formats.coco import from_document
from autolabel.formats.runs import class_runs
from tests_formats.conftest import MAPS, NUMBERS, exported


@pytest.mark.parametrize("number", NUMBERS)
def test_pycocotools_draws_the_same_map(number: int, tmp_path: Path, ignore_class: bool) -> None:
    file, maps, classes = exported("coco", tmp_path, number, ignore_class=ignore_class)
    data = COCO(str(file))
    assert len(data.imgs) == len(maps)
    names = {category["id"]: category["name"] for category in data.loadCats(data.getCatIds())}
    for image in data.loadImgs(data.getImgIds()):
        drawn = np.full((image["height"], image["width"]), IGNORE, np.uint8)
        for row in data.loadAnns(data.getAnnIds(image["id"])):
            mask = data.annToMask(row).astype(bool)
            assert row["area"] == mask.sum()
            assert row["bbox"] == coco_mask.toBbox(data.annToRLE(row)).tolist()
            assert (drawn[mask] == IGNORE).all()
            name = names[row["category_id"]]
            drawn[mask] = IGNORE if name == "ignore" else classes.names.index(name)
        np.testing.assert_array_equal(drawn, maps[image["file_name"]])


@pytest.mark.parametrize("case", MAPS)
def test_run_lengths_have_the_same_text(case: str) -> None:
    labels, _ = MAPS[case]
    for value, counts in class_runs(labels.reshape(-1, order="F")).items():
        expected = coco_mask.encode(np.asfortranarray((labels == value).astype(np.uint8)))
        text = coco_rle.to_text(counts)
        assert text == expected["counts"].decode()
        np.testing.assert_array_equal(coco_rle.from_text(text, "x"), counts)


def test_large_and_random_run_lengths() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 7, 100, 3000):
        mask = np.asfortranarray(np.repeat(rng.integers(0, 2, (size, 1), np.uint8), 997, axis=1))
        (counts,) = [c for v, c in class_runs(mask.reshape(-1, order="F")).items() if v == 1] or [None]
        if counts is not None:
            assert coco_rle.to_text(counts) == coco_mask.encode(mask)["counts"].decode()


def test_integer_polygons_are_those_of_pycocotools() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        ring = rng.integers(0, 40, (rng.integers(3, 9), 2)).astype(float)
        canvas = Canvas(40, 40, crossing="even-odd")
        canvas.polygons([ring], 1, "x")
        expected = coco_mask.decode(coco_mask.frPyObjects([ring.ravel().tolist()], 40, 40))[:, :, 0]
        # pycocotools walks along edges in fifths of a pixel: centres nearer to an edge may fall on either side.
        differ = (canvas.labels == 1) != (expected == 1)
        assert not (differ & (distance_to_edges(ring, 40) > 0.2)).any()


def distance_to_edges(ring: np.ndarray, size: int) -> np.ndarray:
    y, x = np.indices((size, size)) + 0.5
    distances = []
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-12)
        t = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length, 0, 1)
        distances.append(np.hypot(x - x0 - t * (x1 - x0), y - y0 - t * (y1 - y0)))
    return np.min(distances, axis=0)


def test_boxes_are_those_of_pycocotools() -> None:
    for left, top, right, bottom in ((1, 2, 5, 9), (0, 0, 12, 12), (11, 0, 12, 1)):
        ring = [left, top, right, top, right, bottom, left, bottom]
        canvas = Canvas(12, 12)
        canvas.polygons([np.array(ring, float).reshape(-1, 2)], 0, "x")
        expected = coco_mask.decode(coco_mask.frPyObjects([ring], 12, 12))[:, :, 0]
        np.testing.assert_array_equal(canvas.labels == 0, expected == 1)


def test_the_evaluator_finds_the_export_perfect(tmp_path: Path) -> None:
    file, *_ = exported("coco", tmp_path, 3)
    truth = COCO(str(file))
    results = [
        {key: row[key] for key in ("image_id", "category_id", "segmentation")} | {"score": 1.0}
        for row in truth.loadAnns(truth.getAnnIds())
    ]
    evaluation = COCOeval(truth, truth.loadRes(results), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_run_lengths_of_pycocotools_are_read() -> None:
    mask = np.zeros((9, 7), np.uint8)
    mask[2:5, 1:6] = 1
    mask[3, 3] = 0
    text = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
    document = {
        "images": [{"id": 4, "file_name": "a.jpg", "height": 9, "width": 7}],
        "categories": [{"id": 9, "name": "thing"}],
        "annotations": [{"id": 1, "image_id": 4, "category_id": 9, "segmentation": {"size": [9, 7], "counts": text}}],
    }
    (image,) = from_document(json.loads(json.dumps(document)), "x", ImportOptions()).images
    np.testing.assert_array_equal(image.draw(9, 7) == 0, mask == 1)
