"""Scenes: determinism, the same scene at every size, and labels that match the image."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from autolabel.classes import CLASS_SETS
from streetscenes import Label, Scene, render

SIZE = (64, 128)
CLASSES = [label for label in Label if label != Label.IGNORE]


def digest(scene: Scene) -> str:
    return hashlib.sha256(scene.image.tobytes() + scene.fine.tobytes() + scene.coarse.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render(11, index, size=(128, 256)) for index in range(30)]


@pytest.mark.slow
def test_the_same_arguments_give_the_same_bytes() -> None:
    assert digest(render(3, 5, size=SIZE)) == digest(render(3, 5, size=SIZE))


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "4"])
def test_another_process_gives_the_same_bytes(threads: str) -> None:
    code = (
        "import hashlib; from streetscenes import render; s = render(3, 5, size=(64, 128));"
        "print(hashlib.sha256(s.image.tobytes() + s.fine.tobytes() + s.coarse.tobytes()).hexdigest())"
    )
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
    render(1, 1, size=SIZE)  # an earlier scene must not matter
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == digest(render(3, 5, size=SIZE))


@pytest.mark.slow
def test_seed_and_index_both_choose_the_scene() -> None:
    digests = {digest(render(seed, index, size=SIZE)) for seed, index in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0))}
    assert len(digests) == 5


@pytest.mark.parametrize("size", [(32, 32), (33, 71), (1, 1), (90, 40), (40, 200), (129, 257)])
def test_any_size(size: tuple[int, int]) -> None:
    scene = render(0, 3, size=size)
    assert scene.image.shape == (*size, 3)
    assert scene.fine.shape == scene.coarse.shape == size
    assert scene.image.dtype == scene.fine.dtype == scene.coarse.dtype == np.uint8
    assert set(np.unique(scene.fine)) | set(np.unique(scene.coarse)) <= {int(label) for label in Label}


@pytest.mark.slow
def test_two_sizes_show_the_same_scene() -> None:
    for index in range(4):
        small, large = render(7, index, size=SIZE), render(7, index, size=(192, 384))
        same = small.fine == large.fine[1::3, 1::3]  # the middle of every 3 x 3 block
        assert same.mean() > 0.93
        shrunk = large.image.reshape(64, 3, 128, 3, 3).mean(axis=(1, 3))
        assert np.abs(shrunk - small.image).mean() < 9
        for label in (Label.ROAD, Label.BUILDING, Label.SKY):
            assert (small.fine == label).mean() == pytest.approx((large.fine == label).mean(), abs=0.02)


@pytest.mark.slow
def test_thin_things_keep_their_width_at_every_size() -> None:
    small, large = (
        np.mean([(render(5, index, size=size).fine == Label.POLE).mean() for index in range(6)])
        for size in ((128, 256), (384, 768))
    )
    assert small == pytest.approx(large, rel=0.4)  # a polygon thinner than a sample is drawn a sample wide


@pytest.mark.slow
def test_class_frequencies(scenes: list[Scene]) -> None:
    fine = np.stack([scene.fine for scene in scenes])
    fractions = {label: (fine == label).mean() for label in Label}
    for label in CLASSES:
        assert np.mean([(scene.fine == label).any() for scene in scenes]) > 0.9, label
    assert 0.2 < fractions[Label.ROAD] < 0.4
    assert 0.15 < fractions[Label.BUILDING] < 0.4
    assert 0.005 < fractions[Label.POLE] < 0.025
    assert 0.003 < fractions[Label.SIGN] < 0.015
    assert 0.004 < fractions[Label.PERSON] < 0.02
    assert 0.01 < fractions[Label.IGNORE] < 0.06


def test_labels_are_those_of_the_class_set() -> None:
    assert tuple(label.name.lower() for label in CLASSES) == CLASS_SETS["synthetic"].names
    assert list(CLASSES) == list(CLASS_SETS["synthetic"].ids)


@pytest.mark.slow
def test_ignore_is_the_bonnet(scenes: list[Scene]) -> None:
    for scene in scenes:
        rows = np.nonzero((scene.fine == Label.IGNORE).any(axis=1))[0]
        assert rows.min() > 0.85 * scene.fine.shape[0]


@pytest.mark.slow
def test_scenes_differ_in_light_and_layout(scenes: list[Scene]) -> None:
    brightness = [scene.image.mean() for scene in scenes]
    assert max(brightness) > 2 * min(brightness)
    sky = [(scene.fine == Label.SKY).mean() for scene in scenes]
    assert np.std(sky) > 0.02


@pytest.mark.slow
def test_borders_of_labels_are_borders_in_the_image(scenes: list[Scene]) -> None:
    """Shifting the label against the image must make it fit worse: colours inside a class vary more."""

    def spread(scene: Scene, shift: int) -> float:
        grey, label = scene.image.astype(float).mean(axis=2), np.roll(scene.fine, shift, axis=1)
        across = np.abs(np.diff(grey, axis=1))[:, 8:-8]
        border = (np.diff(label.astype(int), axis=1) != 0)[:, 8:-8]
        return float(across[border].mean())

    fit = {shift: np.mean([spread(scene, shift) for scene in scenes]) for shift in (-2, -1, 0, 1, 2)}
    assert max(fit, key=lambda shift: fit[shift]) == 0
    assert fit[0] > 1.5 * max(fit[-2], fit[2])
