"""Memory counted beforehand, and windows for images that would not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel import hardware
from autolabel.config.networks import ModelConfig
from autolabel.errors import AutolabelError
from autolabel.hardware import free_memory
from autolabel.inference import memory, optimize_hrnet
from autolabel.inference.memory import LiveBytes, MemoryCounter, WindowChooser
from autolabel.inference.model import PRECISIONS, LogitPredictor, ProbabilityPredictor, code_predictor
from autolabel.inference.multiscale import forward_views
from autolabel.models import HuggingFaceModel, SegmentationModel, build_model
from autolabel.models.huggingface import model_as_it_is
from autolabel.models.huggingface.architectures import ARCHITECTURES
from autolabel.stages.huggingface_folder import read_files
from tests.helpers.experiments import NARROW

KINDS = ["segformer", "upernet-resnet", "beit", "mask2former", "oneformer", "eomt", "eomt_dinov3"]


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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_count_on_meta_is_that_of_a_real_pass(precision: str) -> None:
    model, side, dtype = network(), 128, PRECISIONS[precision]
    predictor = code_predictor(model, torch.device("cpu"), dtype)
    assert isinstance(predictor, LogitPredictor)
    autocast = torch.autocast("cpu", dtype=dtype, enabled=precision == "bf16")
    with torch.inference_mode(), autocast, LiveBytes() as counted:
        forward_views(predictor.model, torch.rand(1, 3, side, side), (0.5, 1.0))
    found = MemoryCounter(model, (0.5, 1.0), precision=precision).count((side, side))
    assert found is not None
    least, most = {"fp32": (0.9, 1.1), "bf16": (0.6, 1.5)}[precision]
    assert least * counted.peak <= found.of(side, side) <= most * counted.peak


@pytest.mark.parametrize("side", [170, 200, 256])
def test_images_around_the_size_from_which_features_are_not_kept(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from a larger image, which takes less than one below the limit takes for a pixel."""
    monkeypatch.setattr(optimize_hrnet, "_HEAD_STRIP_VALUES", 1 << 14)
    monkeypatch.setattr(optimize_hrnet, "_KEPT_PIXELS", 1 << 11)
    monkeypatch.setattr(memory, "_COUNTED", 128)
    model = network()
    predictor = code_predictor(model, torch.device("cpu"))
    assert isinstance(predictor, LogitPredictor)
    with torch.inference_mode(), LiveBytes() as counted:
        forward_views(predictor.model, torch.rand(1, 3, side, side), (1.0,))
    chooser = WindowChooser(model, (1.0,), flip=False, free=lambda: 0)
    assert 0.9 * counted.peak <= chooser.needed(side, side) / 1.25 <= 1.5 * counted.peak


def test_where_the_whole_takes_less_than_its_half_the_half_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_peak", lambda predictor, height, width, *_: 800 if width == 64 else 1000)
    found = MemoryCounter(network(), (1.0,)).count((64, 64))
    assert found is not None
    assert found.of(64, 32) == found.of(64, 64) == 1000


def test_segformer_on_a_cpu_is_counted_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    optimize_segformer = pytest.importorskip("autolabel.inference.optimize_segformer")
    monkeypatch.setattr(optimize_segformer, "_BLOCK_STRIP", 1 << 12)
    monkeypatch.setattr(optimize_segformer, "_DECODER_STRIP", 1 << 12)
    model, side = of_transformers("segformer").eval(), 256
    config = model.network.config
    config.decoder_hidden_size = 512  # so that its maps take more than all else
    model.network = type(model.network)(config).eval()
    predictor = code_predictor(model, torch.device("cpu"))
    assert isinstance(predictor, ProbabilityPredictor)
    with torch.inference_mode(), LiveBytes() as counted:
        predictor.mean(torch.rand(1, 3, side, side), (1.0,), flip=False)
    found = MemoryCounter(model, (1.0,)).count((side, side))
    assert found is not None
    assert 0.9 * counted.peak <= found.of(side, side) <= 1.1 * counted.peak


def of_transformers(kind: str) -> HuggingFaceModel:
    folders = pytest.importorskip("tests.helpers.hf_folders", reason="needs the extra hf")
    names = folders.NAMES
    return HuggingFaceModel(folders.build(kind), ARCHITECTURES[kind.split("-")[0]], range(len(names)), len(names))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_transformers_are_counted(kind: str, precision: str) -> None:
    model = of_transformers(kind).eval()
    chooser = WindowChooser(model, (1.0,), flip=False, free=lambda: 10**18, precision=precision)
    assert (chooser.window(2000, 3000), chooser.parallel(2000, 3000, 7)) == (None, 7)
    found = MemoryCounter(model, (1.0,), precision=precision).count()
    assert found is not None
    height, width = (64, 96) if model.window is None else (model.window, 4 * model.window)
    predictor = code_predictor(model, torch.device("cpu"))
    assert isinstance(predictor, ProbabilityPredictor)
    autocast = torch.autocast("cpu", dtype=PRECISIONS[precision], enabled=precision == "bf16")
    with torch.inference_mode(), autocast, LiveBytes() as counted:
        predictor.mean(torch.rand(1, 3, height, width), (1.0,), flip=False)
    assert 0.9 * counted.peak <= found.of(height, width) <= 1.1 * counted.peak
    assert next(model.parameters()).device.type == "cpu", "the model itself stays as it is"


def test_all_architectures_are_among_them() -> None:
    assert {kind.split("-")[0] for kind in KINDS} == set(ARCHITECTURES) - {"sam3"}


def test_a_network_that_is_asked_by_text_is_not_counted(tmp_path: Path) -> None:
    """It asks for values, which the meta device has not; it then runs as it is."""
    folders = pytest.importorskip("tests.helpers.hf_folders", reason="needs the extra hf")
    files = read_files(str(folders.save_sam3(tmp_path)))
    model, _, _ = model_as_it_is(files, ("road", "car"), {})
    assert MemoryCounter(model, (1.0,)).count() is None
    chooser = WindowChooser(model, (1.0,), flip=False, free=lambda: 10**6)
    assert (chooser.window(200, 300), chooser.parallel(200, 300, 7)) == (None, 7)


def test_a_network_that_cuts_windows_itself() -> None:
    """Counted on one and two windows; its maps of the whole image count, too."""
    model = of_transformers("beit").eval()
    chooser = WindowChooser(model, (1.0,), flip=False, free=lambda: 0)
    assert model.window is not None
    side = 8 * model.window
    predictor = code_predictor(model, torch.device("cpu"))
    assert isinstance(predictor, ProbabilityPredictor)
    with torch.inference_mode(), LiveBytes() as counted:
        predictor.mean(torch.rand(1, 3, side, side), (1.0,), flip=False)
    assert counted.peak <= chooser.needed(side, side) < 1.2 * counted.peak
    assert counted.peak < 0.6 * 64 * chooser.needed(model.window, model.window), "or memory grew with the windows"


def test_where_nothing_can_be_counted_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise NotImplementedError("aten::strange has no meta kernel")  # as torch does for such an operation

    monkeypatch.setattr(memory, "prepare", fails)
    chooser = WindowChooser(network(), (1.0,), flip=False, free=lambda: 1000)
    assert chooser.window(2000, 3000) is None
    assert chooser.parallel(2000, 3000, 7) == 7
    assert chooser.shortage(2000, 3000) is None


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
    assert chooser.shortage(2000, 3000) is None
    free = 3 * needed
    assert chooser.parallel(2000, 3000, 4) == 2
    free = needed // 4
    height, width = chooser.window(2000, 3000) or (0, 0)
    assert chooser.needed(height, width) <= 0.8 * free
    assert height == width > 600
    free = 1000
    with pytest.raises(AutolabelError, match=r"an image of 3000 x 2000 needs about .* give lower scales"):
        chooser.window(2000, 3000)


def test_an_image_that_may_just_fit_is_labelled_whole_and_said() -> None:
    chooser = WindowChooser(network(), (1.0,), flip=False, free=lambda: free)
    free = chooser.needed(2000, 3000)  # with margins it needs more than this
    assert chooser.window(2000, 3000) is None
    assert chooser.parallel(2000, 3000, 4) == 1
    assert "an image of 3000 x 2000 needs about" in (chooser.shortage(2000, 3000) or "")
    free = 1000
    assert chooser.parallel(2000, 3000, 4) == 1, "never refused"


def test_memory_that_the_container_can_reclaim_is_free(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("10000\n")
    (tmp_path / "memory.current").write_text("9000\n")
    (tmp_path / "memory.stat").write_text("anon 5000\ninactive_file 300\nactive_file 2000\nslab_reclaimable 70\n")
    assert list(hardware._container_memory(tmp_path)) == [1000 + 2370]


@pytest.mark.slow
def test_the_limit_of_the_process_counts() -> None:
    code = "from autolabel.hardware import free_memory, narrowest_limit; print(free_memory(), narrowest_limit())"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -v 1000000; {sys.executable} -c '{code}'"], capture_output=True, text=True, check=True
    )
    free, limit = done.stdout.split(maxsplit=1)
    assert 0 < int(free) < 1_024_000_000
    assert limit.strip() == "ulimit -v"
    assert free_memory() > 0
