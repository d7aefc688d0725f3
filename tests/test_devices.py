"""Devices that no machine of the tests has. An Apple GPU is named explicitly, and only for inference. A CUDA device is
the current one wherever something computes: on a job's second GPU kernels would otherwise run on the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from autolabel.config.schema import RuntimeConfig
from autolabel.errors import SettingError
from autolabel.hardware import device_kind, on_device, resolve_device, training_device
from autolabel.inference import model as inference_model
from autolabel.inference import predictor as inference_predictor
from autolabel.inference.predictor import Predictor
from autolabel.models import WeightsCard, build_model
from autolabel.training import loop
from autolabel.training.trainer import Trainer
from tests.training.tiny_training import SETTINGS, network, train


def test_mps_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("mps") == device_kind("mps") == "mps"
    assert training_device("mps") == "cpu"
    assert resolve_device("auto") != "mps"
    assert RuntimeConfig(device="mps").device == "mps"


def test_mps_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SettingError, match="not on this machine"):
        resolve_device("mps")
    assert training_device("cpu") == "cpu"


def test_a_gpu_is_current_inside_and_a_cpu_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: chosen.append(device) or nullcontext())
    with on_device(torch.device("cuda:1")), on_device(torch.device("cpu")):
        assert chosen == [torch.device("cuda:1")]


class Current:
    """Stands for `on_device`, and says whether a call runs inside of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
        self.depth, self.calls, self._monkeypatch = 0, list[bool](), monkeypatch
        for module in modules:
            monkeypatch.setattr(module, "on_device", self._on_device)

    @contextmanager
    def _on_device(self, device: torch.device) -> Iterator[None]:
        self.depth += 1
        yield
        self.depth -= 1

    def watch(self, owner: object, name: str) -> None:
        function = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            self.calls.append(self.depth > 0)
            return function(*args, **options)

        self._monkeypatch.setattr(owner, name, watched)


def test_networks_label_with_their_gpu_current(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole batches, and the views of single scales."""
    small = {"trunk": "resnet_tiny", "head": "conv", "fusion": "average", "key_channels": 8}
    card = WeightsCard(table=small, class_names=("a", "b"))
    predictor = Predictor(build_model(small, 2), card, scales=(1.0,))
    current = Current(monkeypatch, inference_model, inference_predictor)
    current.watch(type(predictor._teacher.predictor), "codes")
    current.watch(type(predictor._teacher.predictor), "by_scale")
    image = np.zeros((40, 48, 3), np.uint8)
    predictor.predict(image)
    predictor.details(image)
    assert current.calls == [True, True]


def test_trainings_compute_with_their_gpu_current(monkeypatch: pytest.MonkeyPatch) -> None:
    current = Current(monkeypatch, loop)
    current.watch(Trainer, "train_step")
    current.watch(loop, "validate")
    train(network(), table=SETTINGS.model_copy(update={"epochs": 1}))
    assert len(current.calls) == 3
    assert all(current.calls)
