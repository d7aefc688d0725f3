"""`load` a network and label images with it: one at a time, or a stream of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from autolabel.api.arguments import as_number, as_path
from autolabel.api.images import ImageLike, read_image
from autolabel.classes import ClassSet
from autolabel.config.base import Scales
from autolabel.errors import ConfigError, SettingError, WeightsError
from autolabel.hardware import resolve_device
from autolabel.labels import png
from autolabel.labels.codebook import Codebook
from autolabel.labels.threshold import confidence_values
from autolabel.labels.visualize import overlay
from autolabel.store import write_file

if TYPE_CHECKING:
    from autolabel.inference.predictor import Predictor as Inference
    from autolabel.models import Network, NetworkCard

_PRECISIONS = ("fp32", "bf16")
_LOWEST, _HIGHEST = 0.001, 0.999999  # of a threshold
# Finer than those of a run, whose codes are kept on disk.
_EDGES = (*(round(0.05 * i, 2) for i in range(2, 20)), 0.98, 0.99, 0.995)
_EDGE_DISTANCE = 1e-3  # a bin edge nearer to the threshold may be the same in float32
_SCALES: TypeAdapter[tuple[float, ...]] = TypeAdapter(Scales)


@dataclass(frozen=True, eq=False)
class Prediction:
    """The labels of one image with their evidence; all maps have the image's height and width."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    labels: NDArray[np.uint8]  # train ids: the number of a class in `classes`; 255 where unsure
    codes: NDArray[np.unsignedinteger]  # class and probability bin of each pixel, to be read by `codebook`
    codebook: Codebook
    classes: ClassSet  # names, colours and ids
    _inference: Inference = field(repr=False)
    _file: Path | None = field(repr=False)  # of the image

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """(H, W) probability of the winning class: the middle of its bin; 0 where there is no prediction."""
        confidence: NDArray[np.float32] = confidence_values(self.codebook)[self.codes]
        return confidence

    @cached_property
    def attention(self) -> dict[float, NDArray[np.float32]]:
        """Scale -> (H, W) weight of that scale in the fusion; the weights sum to 1 at every pixel.

        The network runs once more, when this is asked for.
        """
        return self._inference.details(self.image).attention

    def overlay(self, alpha: float = 0.5) -> Image.Image:
        """The image under the colours of its labels, which have the weight `alpha`, 0 to 1. Unsure pixels stay."""
        if not 0 <= as_number(alpha, "alpha") <= 1:
            raise SettingError("alpha", f"{alpha} is not from 0 to 1")
        return Image.fromarray(overlay(self.image, self.labels, self.classes.colours(), alpha))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the label map as an 8-bit grey PNG of train ids, atomically. Folders are made, a file is replaced.

        Raises ConfigError unless the name ends in .png, and for the file of the image itself.
        """
        target = as_path(path, "path", "give the path of a PNG file").absolute()
        if target.suffix.lower() != ".png":
            raise ConfigError(path, "does not end in .png", "a label map is a PNG file")
        if self._file is not None and target.exists() and target.samefile(self._file):
            raise ConfigError(path, "is the image itself, which is never replaced", "give another name")
        write_file(target, png.encode(self.labels))
        return target


class Predictor:
    """Labels images; made by `autolabel.load`."""

    def __init__(self, inference: Inference, classes: ClassSet, source: str) -> None:
        self._inference, self._classes, self._source = inference, classes, source

    @property
    def classes(self) -> ClassSet:
        """Names, colours and ids of the classes, in train-id order."""
        return self._classes

    @property
    def codebook(self) -> Codebook:
        """How to read the codes of its predictions."""
        return self._inference.book

    def __repr__(self) -> str:
        return f"Predictor({self._source!r}, {self._classes.num_classes} classes)"

    def __call__(self, image: ImageLike) -> Prediction:
        """Label one image: a path, a PIL image, or a (H, W, 3) uint8 RGB array. Raises ImageError."""
        return self._predictions([image])[0]

    def map(self, images: Iterable[ImageLike], *, batch: int = 1) -> Iterator[Prediction]:
        """Label many images, one after the other; `images` is read only as far as needed.

        With `batch`, images of one size that follow each other go through the network together: faster on a GPU, with
        the same labels except within rounding of a tie. Raises ImageError at an image that cannot be used.
        """
        if not isinstance(images, Iterable) or isinstance(images, str | os.PathLike | np.ndarray | Image.Image):
            raise ConfigError("images", f"is one {type(images).__name__}", "give a list, or call the predictor itself")
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise SettingError("batch", f"{batch!r} is no number of images", "give 1 or more")
        return self._stream(iter(images), batch)

    def _stream(self, images: Iterator[ImageLike], batch: int) -> Iterator[Prediction]:
        while chunk := list(islice(images, batch)):
            yield from self._predictions(chunk)

    def _predictions(self, images: Sequence[ImageLike]) -> list[Prediction]:
        pixels = [read_image(image) for image in images]
        starts = [i for i, image in enumerate(pixels) if i == 0 or image.shape != pixels[i - 1].shape]
        found: list[Prediction] = []
        for start, end in zip(starts, [*starts[1:], len(pixels)], strict=True):
            codes = self._inference.codes(np.stack(pixels[start:end]))
            found += map(self._prediction, images[start:end], pixels[start:end], codes)
        return found

    def _prediction(self, image: ImageLike, pixels: np.ndarray, codes: np.ndarray) -> Prediction:
        file = Path(image) if isinstance(image, str | os.PathLike) else None
        labels = self._inference.labels(codes)
        return Prediction(pixels, labels, codes, self._inference.book, self._classes, self._inference, file)


def load(
    source: str | os.PathLike[str],
    *,
    scales: Sequence[float] = (0.5, 1.0, 2.0),
    flip: bool = False,
    threshold: float = 0.0,
    device: str = "auto",
    precision: str = "fp32",
) -> Predictor:
    """Open a network for inference.

    `source` is a weights file, a teacher or student artefact (work/NAME/artefacts/teacher/KEY), a Hugging Face folder,
    or a hub id whose files are in the local cache; nothing is downloaded. `scales` are the scales of the image, 1.0
    among them; with `flip` the mirrored image counts too. Pixels whose probability does not exceed `threshold` (0 keeps
    all, otherwise 0.001 to 0.999999) become 255. `device`: auto, cpu, cuda or cuda:N. `precision`: fp32 or bf16.

    Raises WeightsError, and ConfigError for a wrong option or a missing package.
    """
    from autolabel.cli.label_ids import statement_of
    from autolabel.inference.predictor import Predictor as Inference

    scales = _checked_scales(scales)
    _check_options(threshold, precision, flip)
    device = resolve_device(str(device))
    model, card = _open(source)
    inference = Inference(
        model,
        card,
        scales=scales,
        flip=flip,
        threshold=float(threshold),
        edges=[edge for edge in _EDGES if abs(edge - threshold) > _EDGE_DISTANCE],
        device=device,
        precision=precision,
    )
    return Predictor(inference, statement_of(card.class_names, "train", None).classes, str(source))


def _checked_scales(scales: Sequence[float]) -> tuple[float, ...]:
    try:
        return _SCALES.validate_python(tuple(scales))
    except (TypeError, ValidationError) as error:
        raise SettingError("scales", f"{scales!r}: distinct numbers from 0.05 to 8, 1.0 among them") from error


def _check_options(threshold: float, precision: str, flip: bool) -> None:
    if not isinstance(flip, bool):
        raise SettingError("flip", f"{flip!r} is neither True nor False")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise SettingError("threshold", f"{threshold!r} is no number")
    if threshold and not _LOWEST <= threshold <= _HIGHEST:
        raise SettingError("threshold", f"{threshold:g}: 0, or a probability from {_LOWEST} to {_HIGHEST}")
    if precision not in _PRECISIONS:
        raise SettingError("precision", f"{precision!r} is not known", f"one of {', '.join(_PRECISIONS)}")


def _open(source: str | os.PathLike[str]) -> tuple[Network, NetworkCard]:
    """A path that exists comes first; any other text is a hub id."""
    from autolabel.cli.networks import open_network
    from autolabel.models.huggingface import model_as_it_is
    from autolabel.stages.huggingface_folder import read_files

    if not isinstance(source, str | os.PathLike):
        raise WeightsError("source", f"is of type {type(source).__name__}", "give a path or a hub id")
    if isinstance(source, os.PathLike) or Path(source).exists() or source.endswith(".safetensors"):
        return open_network(Path(source))
    model, card, _ = model_as_it_is(read_files(source), None, {})
    return model, card
