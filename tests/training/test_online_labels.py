"""Students that treat auto-labelled images apart: strong changes, and labels that the averaged weights make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from autolabel.config.networks import StrongConfig, StudentConfig
from autolabel.data.augment import strong_view
from autolabel.data.crops import ONLINE, AutoCrops, CropDataset
from autolabel.data.loaders import Sample
from autolabel.data.sampling import EpochSampler, plan_phases
from autolabel.errors import ConfigError
from autolabel.models.layers import normalise
from autolabel.training import TrainingData
from autolabel.training.auto_images import check_online
from autolabel.training.online_labels import online_labels
from tests.training.test_trainer import trainer
from tests.training.tiny_training import NAMES, SETTINGS, ArrayPairs, digest, network, train

STRONG = {"colour": 0.6, "grey": 0.3, "blur": 0.5}
LAYERS = ["fine"] * 2 + ["auto"] * 3
DATA = TrainingData(ArrayPairs(), ArrayPairs(3, seed=9), NAMES, epoch_images=5, layers=LAYERS)


def student(**changes: Any) -> StudentConfig:
    base = {**SETTINGS.model_dump(), "strong": STRONG, "method": "weak_to_strong", "online_threshold": 0.4}
    return StudentConfig.model_validate({**base, **changes})


def test_online_labels_against_a_plain_loop() -> None:
    model, teacher = network(1), network(2)
    model.drop.train(False)
    rng = np.random.default_rng(0)
    weak = torch.from_numpy(rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, 3, (3, 16, 16), dtype=np.uint8))
    labels[1] = ONLINE
    labels[1, :4] = 255  # outside the image
    labels[2, 5:12] = ONLINE  # the rest has labels
    tensors = {"weak": weak, "labels": labels}
    found = online_labels(model, teacher.state_dict(), normalise, **tensors, threshold=0.45, at_once=1)
    expected = labels.clone()
    teacher.eval()
    for i in (1, 2):
        with torch.no_grad():
            p = torch.softmax(teacher(normalise(weak[i : i + 1])).fused[0], dim=0).numpy()
        for y, x in np.ndindex(16, 16):
            if labels[i, y, x] == ONLINE:
                expected[i, y, x] = int(p[:, y, x].argmax()) if p[:, y, x].max() > 0.45 else 255
    assert torch.equal(found, expected)
    assert len(found[labels == ONLINE].unique()) > 1
    assert model.training
    assert not model.drop.training, "every module is as it was"


def test_strong_changes_move_no_pixel_and_are_off_by_default() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 15:] = 200, 30, 90
    rng = np.random.default_rng(3)
    assert np.array_equal(strong_view(image, settings=StrongConfig(), blur_sigma=(0.1, 1.0), rng=rng), image)
    grey = strong_view(image, settings=StrongConfig(grey=1.0), blur_sigma=(0.1, 1.0), rng=rng)
    assert np.ptp(grey.astype(int), axis=2).max() <= 1
    coloured = strong_view(image, settings=StrongConfig(colour=0.8), blur_sigma=(0.1, 1.0), rng=rng)
    assert len(np.unique(coloured.reshape(-1, 3), axis=0)) == 2
    assert (coloured[:, 15] == coloured[:, 29]).all()
    assert not np.array_equal(coloured, image)


def crops(auto: AutoCrops | None) -> CropDataset:
    table = student()
    phases = plan_phases(table, layers=LAYERS, names=NAMES, images_by_class=())
    sampler = EpochSampler(phases, 7, 5, 0.0)
    return CropDataset(ArrayPairs(), sampler, augment=table.augment, crop=(16, 16), tile=12, fill=(9, 9, 9), auto=auto)


def test_only_auto_crops_change() -> None:
    """The crop, its label and its weak view are those of a training without strong changes."""
    plain = crops(None)
    is_auto = [layer == "auto" for layer in LAYERS]
    strong = crops(AutoCrops(is_auto, StrongConfig(colour=0.9), online=None))
    online = crops(AutoCrops(is_auto, StrongConfig(colour=0.9), online="all"))
    unlabelled = crops(AutoCrops(is_auto, StrongConfig(colour=0.9), online="unlabelled"))
    numbers = range(10)
    autos = [is_auto[plain.sampler.items(n // 5)[n % 5].index] for n in numbers]
    assert 0 < sum(autos) < len(autos)

    def check(found: Sample, before: Sample, auto: bool) -> None:
        assert np.array_equal(found.image, before.image) != auto

    for number, auto in zip(numbers, autos, strict=True):
        before, after, made = plain[number], strong[number], online[number]
        check(after, before, auto)
        check(made, before, auto)
        assert np.array_equal(after.label, before.label)
        assert after.weak is None
        assert made.weak is not None
        assert np.array_equal(made.weak, before.image)
        assert set(np.unique(made.label)) <= ({ONLINE, 255} if auto else {0, 1, 2, 255})
        # Labels of the set stay; 255 in `made` is outside the image.
        wanted = np.where((before.label == 255) & (made.label == ONLINE), ONLINE, before.label)
        assert np.array_equal(unlabelled[number].label, wanted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "pixels"), [("offline", "all"), ("weak_to_strong", "all"), ("weak_to_strong", "unlabelled")]
)
def test_a_resumed_student_ends_in_the_same_bits(method: str, pixels: str) -> None:
    table = student(method=method, online_pixels=pixels)
    whole, saved = network(), []
    train(whole, table=table, data=DATA, saved=saved)
    for checkpoint in saved[1:-1:2]:
        again = network()
        train(again, table=table, data=DATA, resume=checkpoint, workers=2)
        assert digest(again) == digest(whole)
    other = network()
    train(other, table=student(method=method, online_pixels=pixels, strong={"colour": 0.1}), data=DATA)
    assert digest(other) != digest(whole)


@pytest.mark.parametrize("layer", ["auto", "coarse"])
@pytest.mark.parametrize("pixels", ["all", "unlabelled"])
def test_online_labels_replace_those_of_auto_images_or_fill_gaps(pixels: str, layer: str) -> None:
    wrong = ArrayPairs()
    for label in wrong.labels[2:]:
        label[label != 255] = 0
    ends = []
    for pairs in (ArrayPairs(), wrong):
        model = network()
        data = TrainingData(pairs, None, NAMES, epoch_images=5, layers=["fine"] * 2 + [layer] * 3)
        train(model, table=student(class_uniform=0.0, online_pixels=pixels), data=data)
        ends.append(digest(model))
    assert (ends[0] == ends[1]) == (pixels == "all" and layer == "auto")


@pytest.mark.parametrize(
    ("layer", "pixels", "threshold_matters"),
    [("auto", "all", True), ("auto", "unlabelled", True), ("coarse", "all", False), ("coarse", "unlabelled", True)],
)
def test_layers_that_get_online_labels(layer: str, pixels: str, threshold_matters: bool) -> None:
    layers = ["fine"] * 2 + [layer] * 3
    data = TrainingData(ArrayPairs(), None, NAMES, epoch_images=5, layers=layers)
    ends = set()
    for threshold in (0.0, 1.0):
        model = network()
        train(model, table=student(online_pixels=pixels, online_threshold=threshold), data=data)
        ends.add(digest(model))
    assert (len(ends) == 2) == threshold_matters


@pytest.mark.parametrize(
    ("layers", "pixels", "num_classes", "message"),
    [
        (("fine", "coarse"), "all", 3, "add auto to fuse.layers, or set student.online_pixels"),
        (("fine",), "unlabelled", 3, "no image has auto or coarse labels"),
        (("fine", "auto"), "all", 255, "254 classes at most"),
    ],
)
def test_nothing_to_label_online_is_refused(
    layers: tuple[str, ...], pixels: str, num_classes: int, message: str
) -> None:
    check_online(student(online_pixels=pixels), layers=("fine", "auto"), num_classes=254)
    with pytest.raises(ConfigError, match=message):
        check_online(student(online_pixels=pixels), layers=layers, num_classes=num_classes)


def test_loss_over_all_pixels() -> None:
    """The loss of half-labelled crops is halved."""
    losses = []
    images = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)
    labels = torch.ones(2, 16, 16, dtype=torch.uint8)
    labels[:, :8] = 255
    for over in ("labelled", "all"):
        losses.append(trainer(network(dropout=0.0), loss_over=over).train_step(images, labels)["loss"])
    assert losses[1] == pytest.approx(losses[0] / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ema": 0.0}, "set student.ema"),
        ({"strong": {}}, "set student.strong"),
        ({"augment": {"cutmix": 0.5}}, "does not go with cutmix"),
    ],
)
def test_a_method_that_cannot_work_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        student(**changes)
