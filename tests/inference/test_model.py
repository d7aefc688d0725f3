"""Any network that predicts probabilities can be a teacher; invalid probabilities are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autolabel.errors import DataError
from autolabel.inference.decision import encode_probabilities
from autolabel.inference.model import InferenceModel, LogitPredictor, ProbabilityPredictor, code_predictor
from autolabel.inference.predictor import Predictor
from autolabel.labels.codebook import Codebook
from autolabel.models import NetworkCard, build_model, normalise

CARD = NetworkCard(class_names=("a", "b"), mean=(0.4, 0.5, 0.6))
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 20, 31, 3), dtype=np.uint8))
BOOK = Codebook(2)


class Fake(nn.Module):
    """Probabilities that depend on the scale and the pixel; the last map is that of no class."""

    num_classes = 2

    def __init__(self, spoil: float = 1.0) -> None:
        super().__init__()
        self.spoil = spoil

    def probabilities(self, images: Tensor, *, scale: float = 1.0) -> Tensor:
        ramp = torch.linspace(0, 1, images.shape[-1])  # not symmetric
        logits = torch.stack([images[:, 0] * scale, images[:, 1] + ramp, images[:, 2]], dim=1)
        return logits.softmax(dim=1) * self.spoil


@pytest.mark.parametrize("flip", [False, True])
def test_scales_and_flipped_images_are_averaged(flip: bool) -> None:
    images = normalise(IMAGES, CARD.mean, CARD.std)
    scales, views = (0.5, 1.0, 2.0), []
    for scale in scales:
        views.append(Fake().probabilities(images, scale=scale))
        if flip:
            views.append(Fake().probabilities(images.flip(-1), scale=scale).flip(-1))
    p = torch.stack(views).double().mean(0)
    mean = ProbabilityPredictor(Fake()).mean(images, scales, flip=flip)
    torch.testing.assert_close(mean.double(), p, rtol=1e-5, atol=1e-6)
    codes = InferenceModel(Fake(), CARD, BOOK, scales=scales, flip=flip)(IMAGES)
    assert torch.equal(codes, encode_probabilities(mean, BOOK))
    labels = Predictor(Fake(), CARD, scales=scales, flip=flip, threshold=0.5).train_ids(IMAGES[0].numpy())
    near = ((p[0, :2].amax(0) - 0.5).abs() < 1e-5).numpy()
    expected = np.where(p[0, :2].amax(0) > 0.5, p[0, :2].argmax(0), 255)
    np.testing.assert_array_equal(labels[~near], expected[~near])
    assert set(np.unique(labels)) == {0, 1, 255}


def test_all_scales_have_the_same_weight() -> None:
    details = Predictor(Fake(), CARD, scales=(0.5, 1.0)).details(IMAGES[0].numpy())
    assert all((weight == 0.5).all() and weight.shape == (20, 31) for weight in details.attention.values())
    images = normalise(IMAGES[:1], CARD.mean, CARD.std)
    np.testing.assert_array_equal(details.labels[0.5], Fake().probabilities(images, scale=0.5)[0, :2].argmax(0))


@pytest.mark.parametrize("spoil", [1.01, 0.9, -1.0, float("nan"), float("inf")])
def test_invalid_probabilities_are_refused(spoil: float) -> None:
    teacher = InferenceModel(Fake(spoil), CARD, BOOK, scales=(1.0,))
    with pytest.raises(DataError, match="are not finite, negative or do not sum to 1 at every pixel"):
        teacher(IMAGES)


def test_the_predictor_depends_on_the_type_of_network() -> None:
    own = build_model({"trunk": "hrnet_tiny", "head_channels": 8, "key_channels": 4, "attention_channels": 4}, 2)
    cpu = torch.device("cpu")
    assert isinstance(code_predictor(own, cpu), LogitPredictor)
    assert isinstance(code_predictor(Fake(), cpu), ProbabilityPredictor)


def test_the_map_of_no_class_is_in_the_sum_and_wins_nothing() -> None:
    pixels = torch.tensor([[0.2, 0.1, 0.7], [0.5, 0.1, 0.4], [0.55, 0.0, 0.45], [0.0009, 0.0, 0.9991], [0, 0, 1.0]])
    codes = encode_probabilities(pixels.T.reshape(1, 3, 1, 5), BOOK).flatten().tolist()
    at = BOOK.edges.index
    assert codes == [0, at(0.5), at(0.5) + 1, BOOK.invalid, BOOK.invalid]
