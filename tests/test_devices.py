"""Apple GPUs, which no machine of the tests has: named explicitly, for inference; a training uses the CPU."""

from __future__ import annotations

import pytest
import torch

from autolabel.config.schema import RuntimeConfig
from autolabel.errors import SettingError
from autolabel.hardware import device_kind, resolve_device, training_device


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
