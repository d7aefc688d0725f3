"""Foreign networks as ONNX files (extra `export`): pre-processing as stated, output as probabilities per pixel."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolabel.distribution import install_command
from autolabel.errors import ConfigError, ImageError, WeightsError
from autolabel.inference.foreign import ChannelMap, Layout, Values, codes_of, oriented, probabilities_of
from autolabel.labels.codebook import Codebook
from autolabel.models.resize import resize
from autolabel.models.weights_file import EXPORTED_CARD

_ERRORS_ONLY = 3
_LARGEST_CARD = 1 << 20
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True)
class Preprocessing:
    """(value / pixel_range - mean) / std for each channel of a pixel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pixel_range: Literal[1, 255] = 1  # pixels count from 0 to this before mean and std
    channel_order: Literal["RGB", "BGR"] = "RGB"
    size: tuple[int, int] | None = None  # height and width of the input; None: those of the image

    def __call__(self, image: NDArray[np.uint8]) -> Tensor:
        """(1, 3, H, W) float32 of a (H, W, 3) RGB image."""
        pixels = torch.from_numpy(image if self.channel_order == "RGB" else np.ascontiguousarray(image[..., ::-1]))
        scaled = pixels.permute(2, 0, 1)[None].to(torch.float32) * (self.pixel_range / 255)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (scaled - mean) / std


def open_session(data: bytes, where: object, *, threads: int = 1) -> Any:
    """An ONNX Runtime session. WeightsError for a file that is no model of one image input and one output of maps."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigError(where, "an ONNX model needs onnxruntime", install_command("export"))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has a type per status code, without a common base
        reason = str(error).splitlines()[0][:200]
        remedy = "give one .onnx file with standard operators and its weights inside"
        raise WeightsError(where, f"cannot be opened by ONNX Runtime: {reason}", remedy) from None
    _check_input(session, where)
    return session


def _check_input(session: Any, where: object) -> None:
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _TYPES or len(inputs[0].shape) != 4:
        found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise WeightsError(where, f"its inputs are {found}", "one float input (1, 3, height, width) is needed")
    if inputs[0].shape[1] not in (3, None) and not isinstance(inputs[0].shape[1], str):
        raise WeightsError(where, f"its input is {inputs[0].shape}", "export it with the axes (1, 3, height, width)")


def fixed_size(session: Any) -> tuple[int, int] | None:
    """(height, width) of the input, where the file fixes them."""
    height, width = session.get_inputs()[0].shape[2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def metadata(session: Any) -> Mapping[str, Any]:
    """`mean`, `std`, `class_names` of a model that `export model` wrote; empty for any other."""
    text = session.get_modelmeta().custom_metadata_map.get(EXPORTED_CARD, "")
    try:
        card = json.loads(text) if len(text) <= _LARGEST_CARD else None
    except (ValueError, RecursionError):
        card = None
    return card if isinstance(card, dict) else {}


@dataclass(frozen=True)
class OnnxTeacher:
    session: Any
    prepare: Preprocessing
    values: Values
    layout: Layout | None
    channels: ChannelMap
    where: str

    def codes(self, image_id: str, image: NDArray[np.uint8], book: Codebook) -> NDArray[Any]:
        """(H, W) codes. ImageError where the output is none of probabilities or logits of this image."""
        size = (image.shape[0], image.shape[1])
        inputs = resize(self.prepare(image), self.prepare.size or fixed_size(self.session) or size)
        output = self._run(inputs, image_id)
        if output.ndim != 4 or len(output) != 1:
            raise ImageError(image_id, f"the model's output is {output.shape}", "maps (1, classes, H, W) are needed")
        where = f"{self.where}: {image_id}"
        maps = output[0]
        own_size = (maps.shape[1], maps.shape[2]) if maps.shape[0] == self.channels.num_channels else maps.shape[:2]
        layout = oriented(maps.shape, self.channels.num_channels, own_size, self.layout, where)
        return codes_of(probabilities_of(maps, self.values, self.channels, size, layout, where), book)

    def _run(self, inputs: Tensor, image_id: str) -> NDArray[Any]:
        first = self.session.get_inputs()[0]
        array = inputs.numpy().astype(_TYPES[first.type], copy=False)
        try:
            outputs = self.session.run([self.session.get_outputs()[0].name], {first.name: array})
        except Exception as error:  # as in `open_session`
            reason = str(error).splitlines()[0][:200]
            raise ImageError(image_id, f"the ONNX model fails: {reason}", "check the input size it takes") from None
        return np.asarray(outputs[0])
