"""Torch programs and ONNX models, compared with the networks themselves, at sizes other than in the trace."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import ConfigError, ExportError
from autolabel.inference.onnx_teacher import metadata, open_session
from autolabel.model_export.compare import Difference, check, compare
from autolabel.model_export.onnx_model import load_onnx, onnx_model, require_onnx
from autolabel.model_export.program import DEEPEST, load_program, smallest_side, torch_program
from autolabel.models import build_model
from autolabel.models.model import MultiscaleWrapper

SMALL = {"head_channels": 16, "key_channels": 16, "attention_channels": 8}


def network(trunk: str, head: str, fusion: str, scales: tuple[float, ...]) -> MultiscaleWrapper:
    """A network whose output differs between pixels."""
    torch.manual_seed(0)
    model = build_model(SMALL | {"trunk": trunk, "head": head, "fusion": fusion}, 4).eval().requires_grad_(False)
    for parameter in model.head.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return MultiscaleWrapper(model, scales)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunk", "head", "fusion", "scales"),
    [
        ("hrnet_tiny", "ocr", "hierarchical", (1.0,)),
        ("resnet_tiny", "deeplabv3plus", "explicit", (0.5, 1.0, 2.0)),
        ("resnet_tiny_os16", "deeperlab", "average", (1.0,)),  # pads the image
    ],
)
def test_a_program_takes_images_of_any_size(trunk: str, head: str, fusion: str, scales: tuple[float, ...]) -> None:
    original, smallest = network(trunk, head, fusion, scales), smallest_side(scales)
    data = torch_program(original, smallest, "{}")
    assert b"/autolabel/" not in data  # no path of this machine
    run = load_program(data)
    for shape in ((1, smallest, smallest), (2, smallest + 31, 2 * smallest + 16), (1, 128, 96)):
        difference = compare(run, original, shape)
        assert difference.small, difference
        assert difference.spread > 0.05, "constant logits show nothing"
    with pytest.raises(AssertionError, match=f">= {smallest}"):
        run(torch.zeros(1, 3, smallest - 1, 128))


@given(scales=st.lists(st.floats(0.01, 8), min_size=1))
def test_the_smallest_side_is_more_than_one_pixel_of_the_deepest_map(scales: list[float]) -> None:
    side = smallest_side(scales)
    assert int(side * min(scales)) >= DEEPEST
    assert math.ceil(side * min(scales) / DEEPEST) >= 2
    assert (side - 1) * min(scales) < DEEPEST + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunk", "head", "fusion", "scales", "size"),
    [
        ("hrnet_tiny", "ocr", "hierarchical", (0.5, 1.0), (45, 70)),
        ("resnet_tiny_os16", "deeperlab", "single", (1.0,), (37, 50)),
    ],
)
def test_an_onnx_model_runs_in_onnx_runtime(
    trunk: str, head: str, fusion: str, scales: tuple[float, ...], size: tuple[int, int]
) -> None:
    onnx = pytest.importorskip("onnx")
    original = network(trunk, head, fusion, scales)
    data = onnx_model(original, size, '{"class_names": []}')
    assert b"/autolabel/" not in data
    difference = compare(load_onnx(data), original, (1, *size))
    assert difference.small, difference
    assert difference.spread > 0.05
    assert [(p.key, p.value) for p in onnx.load_from_string(data).metadata_props] == [
        ("card.json", '{"class_names": []}')
    ]
    assert metadata(open_session(data, "model.onnx")) == {"class_names": []}, "as a foreign teacher reads it"


class Capricious(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if images.sum() > 0 else -images


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda n: torch_program(n, 33, "{}"), lambda n: onnx_model(n, (9, 9), "{}")])
def test_what_cannot_be_traced_is_refused_in_one_line(make: object) -> None:
    pytest.importorskip("onnxscript")
    with pytest.raises(ExportError, match=r"this network: .*; leave (torch|onnx) out") as caught:
        make(Capricious())  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_missing_packages_name_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ConfigError, match=r"onnx: needs onnxscript; pip install 'autolabel-seg\[export\]'"):
        require_onnx()


def test_differences_are_measured_and_judged() -> None:
    def plain(images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images, 2 * images], dim=1)

    def shifted(images: torch.Tensor) -> torch.Tensor:
        return plain(images) + 0.01

    exact = compare(plain, plain, (2, 20, 33))
    assert exact == Difference((2, 20, 33), 0.0, exact.spread, 1.0)
    check("a", [exact])
    off = compare(shifted, plain, (1, 20, 33))
    assert off.largest == pytest.approx(0.01, rel=1e-3)
    assert off.labels == 1
    with pytest.raises(ExportError, match=r"b: differs from the network at 20x33 by 0\.01, .*; nothing was written"):
        check("b", [exact, off])
    assert not exact._replace(largest=math.nan).small
    assert not exact._replace(labels=0.99).small
    with pytest.raises(ExportError, match=r"gives \(1, 3, 20, 33\) where the network gives \(1, 6, 20, 33\)"):
        compare(lambda images: images, plain, (1, 20, 33))
    with pytest.raises(ExportError, match=r"fails for 20x33: ZeroDivisionError: .* by zero; nothing was written"):
        compare(lambda images: images / (1 // 0), plain, (1, 20, 33))
