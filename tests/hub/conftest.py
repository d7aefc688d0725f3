"""A hub on loopback with weights of its own, and a cache that is empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from autolabel.models.published.detect import trunk_layouts
from tests.helpers.hub import Hub, running_hub, use_hub


def trunk_file(trunk: str, seed: int = 0) -> bytes:
    """A safetensors file as timm's: random weights of a trunk, and a classifier, in half precision."""
    torch.manual_seed(seed)
    layout = trunk_layouts(trunk)[0]
    entries = {layout.names[key]: random_entry(value) for key, value in layout.state.items()}
    entries |= {"classifier.weight": torch.rand(5, 4), "classifier.bias": torch.rand(5)}
    return safetensors.torch.save(entries, metadata={"format": "pt"})


def random_entry(like: torch.Tensor) -> torch.Tensor:
    return torch.rand(like.shape, dtype=torch.float16) if like.is_floating_point() else torch.zeros(like.shape).long()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as server:
        use_hub(monkeypatch, server.url, cache)
        yield server
