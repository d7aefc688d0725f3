"""Numbers that are not numbers end in an error that names image and scale, and never in labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from autolabel.config.networks import ModelConfig
from autolabel.errors import ImageError
from autolabel.inference.engine import infer_chunks
from autolabel.inference.model import NOT_FINITE, InferenceModel
from autolabel.inference.predictor import Predictor
from autolabel.labels.codebook import Codebook
from autolabel.models import SegmentationModel, WeightsCard, build_model
from autolabel.models.checkpoint import weights_to_bytes
from tests.cli.predict_call import predict, refused, write_image
from tests.data.manifest_rows import image_row

TABLE = ModelConfig(trunk="hrnet_tiny", head_channels=8, key_channels=4, attention_channels=4)
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def network(scale: float = 1.0) -> SegmentationModel:
    torch.manual_seed(0)
    model = build_model(TABLE, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model.eval()


def card(**change: object) -> WeightsCard:
    return WeightsCard(table=TABLE, class_names=("a", "b"), **change)


SPOILT = {
    "weights of 1e30": (network(1e30), card()),
    "weights of 1e20 and a card with a large mean and a small std": (
        network(1e20),
        card(std=(1e-6, 1e-6, 1e-6), mean=(1e20, 0, 0)),
    ),
}


def test_a_card_whose_std_float32_cannot_divide_by_is_refused() -> None:
    """Images would be infinite, and activations with a limit would hide it."""
    with pytest.raises(ValueError, match=r"std\.0\s+Input should be greater than or equal to 0\.000001"):
        card(std=(1e-39, 0.2, 0.2))


@pytest.mark.parametrize("name", SPOILT)
def test_a_predictor_names_the_scales(name: str) -> None:
    model, its_card = SPOILT[name]
    with pytest.raises(ImageError, match=rf"{NOT_FINITE} at scale 0\.5, 1; check the weights"):
        Predictor(model, its_card, scales=(0.5, 1.0)).predict(IMAGE)


def test_sound_networks_label_as_before() -> None:
    labels = Predictor(network(), card(), scales=(0.5, 1.0)).train_ids(IMAGE)
    assert set(np.unique(labels)) <= {0, 1}


def test_only_the_image_that_spoils_it_is_bad() -> None:
    """A network that fails on one image: the engine reports that one and goes on."""
    teacher = InferenceModel(network(), card(), Codebook(2), scales=(1.0,))
    real = teacher.predictor.codes

    def codes(images: torch.Tensor, book: Codebook, *args: object, **options: object) -> torch.Tensor:
        found = real(images, book, *args, **options)  # type: ignore[arg-type]
        if bool((images == images[..., :1, :1]).all()):  # the one of one colour
            found[0, 3, 4] = book.invalid
        return found

    object.__setattr__(teacher, "predictor", SimplePredictor(teacher.predictor, codes))
    images = {"a": IMAGE, "b": np.zeros_like(IMAGE), "c": IMAGE[:, ::-1].copy()}
    rows = [image_row(name, width=48, height=32) for name in images]
    [chunk] = infer_chunks(teacher, [(0, rows)], load=lambda row: images[row.id])
    assert [image_id for image_id, _ in chunk.codes] == ["a", "c"]
    [(bad, error)] = chunk.bad
    assert (bad, str(error).startswith(f"b: {NOT_FINITE}")) == ("b", True)


class SimplePredictor:
    def __init__(self, real: object, codes: object) -> None:
        self._real, self.codes = real, codes

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


def test_predict_names_image_and_scale_and_writes_nothing(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(weights_to_bytes(network(1e30), card()))
    said = refused(predict(weights, write_image(tmp_path / "a.png"), "--out", tmp_path / "out"), 3)
    assert said.startswith(f"autolabel: a: {NOT_FINITE} at scale 1;")
    assert not (tmp_path / "out").exists()
