"""Labels of one image at a time, and the prediction of every scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autolabel.hardware import on_device
from autolabel.inference.model import InferenceModel, SplitOnOutOfMemory
from autolabel.inference.sliding_window import encode_by_windows
from autolabel.labels.codebook import REQUIRED_EDGE, Codebook
from autolabel.labels.threshold import mean_confidence
from autolabel.models import Network, NetworkCard, normalise
from autolabel.models.resize import resize


class Prediction(NamedTuple):
    labels: np.ndarray  # (H, W) uint8 train ids; 255 where unsure
    mean_confidence: float | None  # of the labelled pixels, from the middles of probability bins; None where none is


class PredictionDetails(NamedTuple):
    labels: dict[float, np.ndarray]  # scale -> (H, W) uint8 train ids that this scale alone would give
    attention: dict[float, np.ndarray]  # scale -> (H, W) float32 weight; the weights sum to 1 at every pixel


class Predictor:
    """Labels images with a network at several scales; moves `model` to `device` and into eval mode.

    Pixels whose probability does not exceed `threshold` become 255; 0 keeps all. A threshold is from 0.001 to 0.999999
    (ConfigError otherwise) and need not be a default bin edge: the codebook is made to fit it. `edges` are further bin
    edges, which make the mean confidence finer and change no label.
    """

    def __init__(
        self,
        model: Network,
        card: NetworkCard,
        *,
        scales: Sequence[float],
        flip: bool = False,
        threshold: float = 0.0,
        edges: Sequence[float] = (),
        device: torch.device | str = "cpu",
        precision: str = "fp32",
    ) -> None:
        needed = {REQUIRED_EDGE, threshold} if threshold else {REQUIRED_EDGE}
        self.book = Codebook(model.num_classes, sorted({*needed, *edges}))
        self._table = self.book.lut(threshold)
        self._keep_all = self.book.lut(0.0)
        self._teacher = InferenceModel(
            model, card, self.book, scales=scales, flip=flip, device=device, precision=precision
        )

    @property
    def device(self) -> torch.device:
        return self._teacher.device

    def train_ids(self, image: np.ndarray) -> np.ndarray:
        """(H, W) uint8 train ids of a (H, W, 3) uint8 RGB image; 255 where unsure.

        Raises ImageError where the network's numbers are not finite.
        """
        return self.labels(self.codes(image[None])[0])

    def predict(self, image: np.ndarray, *, window: tuple[int, int] | None = None, overlap: int = 0) -> Prediction:
        """Train ids, as `train_ids`, and their mean confidence. `window`, `overlap`: as in `codes`."""
        codes = self.codes(image[None], window=window, overlap=overlap)[0]
        labels = self.labels(codes)
        return Prediction(labels, mean_confidence(codes, labels, self.book))

    def codes(self, images: np.ndarray, *, window: tuple[int, int] | None = None, overlap: int = 0) -> np.ndarray:
        """Codes (B, H, W) by `book` of (B, H, W, 3) uint8 RGB images.

        Images larger than `window` (height, width) are processed in windows with an `overlap`. Raises ImageError where
        the network's numbers are not finite.
        """
        encode = SplitOnOutOfMemory(self._teacher)
        tensor = torch.from_numpy(images)
        found = encode(tensor) if window is None else encode_by_windows(encode, tensor, size=window, overlap=overlap)
        codes: np.ndarray = found.cpu().numpy()
        for image, of_image in zip(torch.from_numpy(images), codes, strict=True):
            self._teacher.check_finite(image, of_image)
        return codes

    def labels(self, codes: np.ndarray) -> np.ndarray:
        """uint8 train ids of codes of any shape; 255 where unsure."""
        labels: np.ndarray = self._table[codes]
        return labels

    @torch.inference_mode()
    def details(self, image: np.ndarray) -> PredictionDetails:
        """The prediction and weight of every scale alone, without flip and threshold."""
        teacher = self._teacher
        images = torch.from_numpy(image[None]).to(teacher.device)
        images = normalise(images, teacher.card.mean, teacher.card.std)
        with on_device(teacher.device):
            by_scale = teacher.predictor.by_scale(images, teacher.scales)
        return PredictionDetails(
            labels={scale: self._labels(view.values, image.shape[:2]) for scale, view in by_scale.items()},
            attention={scale: view.weight[0, 0].float().cpu().numpy() for scale, view in by_scale.items()},
        )

    def _labels(self, values: Tensor, size: tuple[int, ...]) -> np.ndarray:
        height, width = size
        codes = self._teacher.predictor.encode(resize(values, (height, width)), self.book)
        labels: np.ndarray = self._keep_all[codes[0].cpu().numpy()]
        return labels
