"""Makes an ONNX model of one image size, and runs it in ONNX Runtime (extra `export`).

The size is fixed: with dynamic sizes the exporter's graph fails in the runtime.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autolabel.distribution import install_command
from autolabel.errors import ConfigError, ExportError
from autolabel.hardware import usable_cores
from autolabel.model_export.program import quiet
from autolabel.models.weights_file import EXPORTED_CARD

INPUT, OUTPUT = "images", "logits"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ERRORS_ONLY = 3  # a log level of ONNX Runtime


def require_onnx() -> None:
    """ConfigError unless the packages for ONNX are installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError("onnx", f"needs {', '.join(missing)}", install_command("export"))


def onnx_model(network: nn.Module, size: tuple[int, int], card: str) -> bytes:
    """An .onnx file of `network`, images (1, 3, *size) -> logits, with the JSON text `card` in its metadata.

    ExportError if torch cannot convert the network.
    """
    try:
        return _converted(network, torch.zeros(1, 3, *size), card)
    except Exception as error:  # the exporter raises many types of errors
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ExportError("model.onnx", f"torch cannot convert this network: {reason}", "leave onnx out") from error


def _converted(network: nn.Module, images: Tensor, card: str) -> bytes:
    import onnx

    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT]}
    with _silent(), quiet(), torch.no_grad():
        program = torch.onnx.export(network, (images,), dynamo=True, verbose=False, **names)
    assert program is not None
    model = program.model_proto
    for entry in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        entry.ClearField("metadata_props")  # contains file names of this machine
        entry.ClearField("doc_string")
    onnx.helper.set_model_props(model, {EXPORTED_CARD: card})
    data: bytes = model.SerializeToString()
    return data


def load_onnx(data: bytes) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()  # by default it counts the machine's cores and pins them
    options.log_severity_level = ERRORS_ONLY
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])


@contextmanager
def _silent() -> Iterator[None]:
    """Silence the exporter's warnings about packages that are not needed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
