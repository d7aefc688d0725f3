from __future__ import annotations

import numpy as np
import pytest
import torch

from autolabel.errors import ConfigError
from autolabel.inference.multiscale import multiscale_logits
from autolabel.inference.predictor import Predictor
from autolabel.models import SegmentationModel, WeightsCard, build_model, normalise

pytestmark = pytest.mark.slow

IMAGE = np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)
SCALES = (0.5, 1.0, 2.0)


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    torch.manual_seed(1)
    model = build_model({"trunk": "hrnet_tiny", "head_channels": 16, "key_channels": 8, "attention_channels": 8}, 4)
    return model.eval()


@pytest.fixture(scope="module")
def card(model: SegmentationModel) -> WeightsCard:
    return WeightsCard(table=model.table, class_names=tuple("abcd"), mean=(0.4, 0.5, 0.6))


@pytest.mark.parametrize("flip", [False, True])
def test_labels_are_the_argmax_and_the_threshold_removes(model, card, flip: bool) -> None:
    images = normalise(torch.from_numpy(IMAGE[None]), card.mean, card.std)
    p = multiscale_logits(model, images, SCALES, flip=flip)[0].softmax(0).numpy()
    labels = Predictor(model, card, scales=SCALES, flip=flip).train_ids(IMAGE)
    np.testing.assert_array_equal(labels, p.argmax(0))
    threshold = round(float(np.median(p.max(0))), 3)  # need not be a default edge
    kept = Predictor(model, card, scales=SCALES, flip=flip, threshold=threshold).train_ids(IMAGE)
    np.testing.assert_array_equal(kept, np.where(p.max(0) > threshold, labels, 255))
    assert 0.2 < (kept == 255).mean() < 0.8


def test_impossible_threshold(model, card) -> None:
    with pytest.raises(ConfigError):
        Predictor(model, card, scales=SCALES, threshold=1.0)


def test_every_scale_alone(model, card) -> None:
    details = Predictor(model, card, scales=SCALES, threshold=0.9).details(IMAGE)
    assert set(details.labels) == set(details.attention) == set(SCALES)
    np.testing.assert_allclose(sum(details.attention.values()), 1, atol=1e-5)
    for labels, weight in zip(details.labels.values(), details.attention.values(), strict=True):
        assert (labels.shape, labels.dtype) == (IMAGE.shape[:2], np.uint8)
        assert (weight.shape, weight.dtype) == (IMAGE.shape[:2], np.float32)
    np.testing.assert_array_equal(details.labels[1.0], Predictor(model, card, scales=(1.0,)).train_ids(IMAGE))
