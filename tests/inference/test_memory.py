"""Memory counted beforehand, and windows for images that would not fit."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.config.networks import ModelConfig
from autolabel.errors import AutolabelError
from autolabel.hardware import free_memory
from autolabel.inference import memory
from autolabel.inference.memory import LiveBytes, WindowChooser, bytes_per_pixel
from autolabel.inference.model import LogitPredictor, code_predictor
from autolabel.inference.multiscale import forward_views
from autolabel.models import SegmentationModel, build_model
from tests.helpers.experiments import NARROW


def network() -> SegmentationModel:
    return build_model(ModelConfig(trunk="hrnet_tiny", **NARROW), 3).eval()


def test_live_bytes_are_those_of_tensors_that_are_alive() -> None:
    with LiveBytes() as counted:
        first = torch.empty(1000)
        view = first[10:]
        del first
        assert counted.peak == 4000
        del view
        torch.empty(500)
        assert counted.peak == 4000
        kept = torch.empty(2000, dtype=torch.uint8), torch.empty(3000, dtype=torch.uint8)
    assert counted.peak == 5000
    assert len(kept) == 2


def test_the_count_on_meta_is_that_of_a_real_pass() -> None:
    model, side = network(), 128
    predictor = code_predictor(model, torch.device("cpu"))
    assert isinstance(predictor, LogitPredictor)
    with torch.inference_mode(), LiveBytes() as counted:
        forward_views(predictor.model, torch.rand(1, 3, side, side), (0.5, 1.0))
    assert bytes_per_pixel(model, (0.5, 1.0)) / 1.25 == pytest.approx(counted.peak / side**2, rel=0.1)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 9000), st.integers(1, 9000), st.floats(0.001, 0.999))
def test_a_window_is_within_its_pixels(height: int, width: int, fraction: float) -> None:
    pixels = int(fraction * height * width)
    found = memory._window(height, width, pixels)
    if found is not None:
        assert found[0] * found[1] <= pixels
        assert min(found) >= 64
        assert all(side % 64 == 0 or side in (height, width) for side in found)
    elif min(height, width) >= 256:
        assert pixels < 320 * 320 or pixels < 64 * max(height, width)


def test_small_memory_is_met_with_windows_and_fewer_images_at_once() -> None:
    model = network()
    chooser = WindowChooser(model, (1.0,), flip=False, free=lambda: free)
    needed = chooser.needed(2000, 3000)
    free = 10 * needed
    assert chooser.window(2000, 3000) is None
    assert chooser.parallel(2000, 3000, 4) == 4
    free = 3 * needed
    assert chooser.parallel(2000, 3000, 4) == 2
    free = needed // 4
    height, width = chooser.window(2000, 3000) or (0, 0)
    assert chooser.needed(height, width) <= 0.8 * free
    assert height == width > 600
    with pytest.raises(AutolabelError, match=r"an image of 3000 x 2000 needs about .* set infer\.window"):
        chooser.parallel(2000, 3000, 4)
    free = 1000
    with pytest.raises(AutolabelError, match="give lower scales"):
        chooser.window(2000, 3000)


@pytest.mark.slow
def test_the_limit_of_the_process_counts() -> None:
    code = "from autolabel.hardware import free_memory; print(free_memory())"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -v 1000000; {sys.executable} -c '{code}'"], capture_output=True, text=True, check=True
    )
    assert 0 < int(done.stdout) < 1_024_000_000
    assert free_memory() > 0
