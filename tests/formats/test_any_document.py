"""Documents with one value replaced by anything: the readers draw a map or raise a DataError, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.errors import DataError
from autolabel.formats import coco, cvat, label_studio, labelme
from autolabel.formats.base import ForeignLabels, ImportOptions
from autolabel.formats.brush_rle import encode
from tests.formats.test_bad_input import HEIGHT, SQUARE, WIDTH, rle
from tests.formats.test_bad_input import coco as coco_document
from tests.formats.test_bad_input import labelme as labelme_document

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from(
        [2**40, -(2**70), 1e300, -1.5, "", "x", "1", "brushlabels", "a.png", [], {}, [[]], [[1, 2]], [None]]
    ),
    st.lists(st.integers(-5, 50), max_size=8),
)
STUDIO = [
    {
        "data": {"image": "a.png"},
        "annotations": [
            {
                "completed_by": {"email": "x"},
                "result": [
                    {
                        "type": "brushlabels",
                        "original_width": WIDTH,
                        "original_height": HEIGHT,
                        "value": {"rle": encode(np.array([3, 45])), "brushlabels": ["car"]},
                    },
                    {
                        "type": "polygonlabels",
                        "original_width": WIDTH,
                        "original_height": HEIGHT,
                        "value": {"points": SQUARE, "polygonlabels": ["car"]},
                    },
                    {
                        "type": "rectanglelabels",
                        "original_width": WIDTH,
                        "original_height": HEIGHT,
                        "value": {"x": 1, "y": 2, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["car"]},
                    },
                ],
            }
        ],
    }
]
COCO = coco_document(
    annotations=[
        {"id": 1, "image_id": 1, "category_id": 1, "area": 4, "segmentation": [np.ravel(SQUARE).tolist()]},
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": rle([3, 45])},
        {"id": 3, "image_id": 1, "category_id": 1, "segmentation": rle("3]1")},
    ]
)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a document."""
    entries = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in entries:
        yield (*path, key)
        yield from places(value, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    document = copy.deepcopy(document)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return document


def draws_or_refuses(read: Callable[[], ForeignLabels]) -> None:
    with suppress(DataError):
        foreign = read()
        for image in foreign.images:
            labels = image.draw(HEIGHT, WIDTH)
            assert labels.shape == (HEIGHT, WIDTH)
            assert set(np.unique(labels)) <= {*range(len(foreign.names)), 255}
            assert isinstance(image.name, str)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(places(COCO))), JUNK)
def test_coco(path: tuple[Any, ...], junk: Any) -> None:
    document = replaced(COCO, path, junk)
    draws_or_refuses(lambda: coco.from_document(document, "x", ImportOptions()))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(places(STUDIO))), JUNK)
def test_label_studio(path: tuple[Any, ...], junk: Any) -> None:
    document = replaced(STUDIO, path, junk)
    draws_or_refuses(lambda: label_studio.from_document(document, "x", ImportOptions()))


def test_labelme(tmp_path_factory: Any) -> None:
    file: Path = tmp_path_factory.mktemp("labelme") / "a.json"
    shapes = [labelme_document(**change)["shapes"][0] for change in ({}, {"shape_type": "mask", "mask": "AAAA"})]  # type: ignore[index]
    document = {"imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes}

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(list(places(document))), JUNK)
    def check(path: tuple[Any, ...], junk: Any) -> None:
        file.write_text(json.dumps(replaced(document, path, junk)))
        draws_or_refuses(lambda: labelme.read(file, ImportOptions()))

    check()


SHAPES = [
    '<mask label="car" rle="0, 4" left="1" top="1" width="2" height="2" z_order="1"/>',
    '<polygon label="car" points="1,1;4,1;4,4"/>',
    '<box label="car" xtl="1" ytl="1" xbr="3" ybr="3" rotation="10"/>',
    '<ellipse label="car" cx="3" cy="3" rx="2" ry="1"/>',
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SHAPES), st.data())
def test_cvat(shape: str, data: st.DataObject) -> None:
    values = shape.split('"')
    index = data.draw(st.sampled_from(range(1, len(values), 2)))
    values[index] = data.draw(
        st.one_of(
            st.text(st.characters(exclude_characters='"<&', min_codepoint=32), max_size=9),
            st.sampled_from(["nan", "inf", "1e999", "-1", "9" * 30, "1,1;nan,2;3,3", ""]),
        )
    )
    document = (
        "<annotations><meta><task><labels><label><name>car</name></label></labels></task></meta>"
        f'<image id="0" name="a.png" width="{WIDTH}" height="{HEIGHT}">{chr(34).join(values)}</image></annotations>'
    )
    draws_or_refuses(lambda: cvat.from_bytes(document.encode("utf-8", "replace"), "x", ImportOptions()))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_brush_bytes(data: bytes, height: int, width: int) -> None:
    from autolabel.formats.brush_rle import decode

    head = f"{4 * height * width:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    bits = head + "".join(f"{byte:08b}" for byte in data)
    rle = [int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8)]
    with suppress(DataError):
        assert decode(rle, height, width, "x").shape == (height, width)
