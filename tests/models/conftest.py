"""The published network with the generated weights of the parity files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from autolabel.models import SegmentationModel, build_model, load_published


@pytest.fixture(scope="session")
def parity(shared: Path) -> Path:
    return shared / "parity"


@pytest.fixture(scope="session")
def rule(parity: Path) -> ModuleType:
    """Weight rule, input recipe and comparison of the parity files."""
    spec = importlib.util.spec_from_file_location("parity_rule", parity / "rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def published_weights(parity: Path, rule: ModuleType) -> dict[str, torch.Tensor]:
    """Weights with the prefix of a data-parallel wrapper."""
    keys = json.loads((parity / "ocrnet.HRNet_Mscale_keys.json").read_text())
    return {f"module.{key}": torch.from_numpy(np.asarray(rule.value(key, shape))) for key, shape in keys.items()}


@pytest.fixture(scope="session")
def published_network(published_weights: dict[str, torch.Tensor]) -> SegmentationModel:
    model = build_model({"trunk": "hrnet_w48", "head": "ocr", "fusion": "hierarchical"}, 19)
    load_published(model, published_weights)
    return model.eval()
