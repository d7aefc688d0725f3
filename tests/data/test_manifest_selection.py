"""Which rows each stage gets."""

from __future__ import annotations

import pytest

from autolabel.data.manifest import Manifest, training_rows, unlabelled_images, val_rows
from autolabel.errors import DataError
from tests.data.manifest_rows import SYNTHETIC, image_row, label_row

MANIFEST = Manifest(
    SYNTHETIC,
    (
        image_row("both"),
        image_row("coarse"),
        image_row("auto"),
        image_row("bare"),
        image_row("val", split="val"),
        image_row("val_bare", split="val"),
        image_row("test", split="test"),
    ),
    (
        label_row("both", "fine"),
        label_row("both", "coarse"),
        label_row("coarse", "coarse"),
        label_row("coarse", "truth"),
        label_row("auto", "auto"),
        label_row("auto", "coarse"),
        label_row("val", "fine"),
        label_row("test", "fine"),
    ),
)


def pairs(*roles: str) -> list[tuple[str, str]]:
    return [(image.id, label.role) for image, label in training_rows(MANIFEST, roles)]


def test_an_image_takes_the_first_layer_it_has() -> None:
    assert pairs("fine") == [("both", "fine")]
    assert pairs("fine", "auto") == [("auto", "auto"), ("both", "fine")]
    assert pairs("auto", "coarse", "fine") == [("auto", "auto"), ("both", "coarse"), ("coarse", "coarse")]


def test_truth_is_never_trained_on() -> None:
    for roles in (["truth"], ["fine", "truth"]):
        with pytest.raises(DataError, match="'truth' is the hidden answer"):
            training_rows(MANIFEST, roles)


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(DataError, match="no train image has a label of auto or fine"):
        training_rows(Manifest(SYNTHETIC, (image_row("a"),), (label_row("a", "truth"),)), ["auto", "fine"])


def test_val_and_what_is_to_be_labelled() -> None:
    assert [(image.id, label.role) for image, label in val_rows(MANIFEST)] == [("val", "fine")]
    assert [row.id for row in unlabelled_images(MANIFEST)] == ["auto", "bare", "coarse"]
