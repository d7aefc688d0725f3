"""Large images in windows: every pixel is kept once, and a small receptive field changes no code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from autolabel.config.schema import InferConfig
from autolabel.inference.engine import infer_chunks
from autolabel.inference.model import Upload
from autolabel.inference.sliding_window import encode_by_windows, windows
from autolabel.models.resize import resize


@given(st.integers(1, 3000), st.integers(1, 700), st.data())
def test_every_pixel_is_kept_once_with_half_an_overlap_around_it(length: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    result = windows(length, size, overlap)
    assert [pixel for window in result for pixel in range(length)[window.kept]] == list(range(length))
    for window in result:
        assert 0 <= window.start <= window.first < window.last <= window.stop <= length
        assert window.stop - window.start <= size
        assert window.start == 0 or window.first - window.start >= overlap // 2
        assert window.stop == length or window.stop - window.last >= overlap // 2
        assert range(length)[window.start : window.stop][window.inner] == range(length)[window.kept]
    if length <= size:
        assert len(result) == 1
    if size - overlap > 64:
        assert all(window.start % 64 == 0 for window in result)
        assert all(window.stop - window.start > size - 64 for window in result if length >= size)


class Network(nn.Module):
    """Two 3x3 convolutions: sees 2 pixels around, or 5 of the image with the second one at half its size."""

    def __init__(self, *, two_scales: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = (nn.Conv2d(c, 6, 3, padding=1, dtype=torch.float64) for c in (3, 6))
        self.two_scales = two_scales
        self.seen: list[tuple[int, ...]] = []

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape[1:3]))
        values = self.first(images.permute(0, 3, 1, 2).double() / 255).sin()
        if self.two_scales:
            half = self.second(nn.functional.avg_pool2d(values, 2)).sin()
            values = values + resize(half, (values.shape[2], values.shape[3]))
        else:
            values = self.second(values)
        return values.argmax(1).to(torch.uint8)


def noise_image(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (batch, height, width, 3), np.uint8))


@pytest.mark.parametrize(("height", "width"), [(37, 53), (20, 53), (37, 9), (21, 41)])
@pytest.mark.parametrize("size", [(20, 30), (8, 41)])
def test_codes_are_those_of_the_whole_image(height: int, width: int, size: tuple[int, int]) -> None:
    network = Network(two_scales=False)
    whole = network(noise_image(height, width, 2))
    assert len(whole.unique()) > 2
    del network.seen[:]
    assert encode_by_windows(network, noise_image(height, width, 2), size=size, overlap=5).equal(whole)
    assert all(h <= size[0] and w <= size[1] for h, w in network.seen)
    assert (len(network.seen) > 1) == (height > size[0] or width > size[1])


def test_lower_scales_see_the_same_grid() -> None:
    network = Network(two_scales=True)
    whole = network(noise_image(300, 422))
    assert encode_by_windows(network, noise_image(300, 422), size=(128, 160), overlap=16).equal(whole)


def test_too_small_an_overlap_shows() -> None:
    network = Network(two_scales=False)
    images = noise_image(37, 53)
    assert not encode_by_windows(network, images, size=(20, 30), overlap=1).equal(network(images))


class Row:
    def __init__(self, name: str, height: int, width: int) -> None:
        self.id, self.height, self.width = name, height, width


class Teacher:
    upload = Upload(torch.device("cpu"))

    def __init__(self, device: str, fits: int = 99) -> None:
        self.network, self.device, self.fits = Network(two_scales=False), torch.device(device), fits

    def __call__(self, images: Tensor) -> Tensor:
        if len(images) > self.fits:
            raise torch.OutOfMemoryError
        return self.network(images)

    def check_finite(self, image: Tensor, codes: np.ndarray) -> None:
        pass


@pytest.mark.parametrize(("device", "fits"), [("cpu", 99), ("cuda", 99), ("cuda", 1)])
def test_the_engine_takes_large_images_by_windows_and_others_whole(device: str, fits: int) -> None:
    rows = [Row("a", 37, 53), Row("b", 20, 30), Row("c", 37, 53), Row("d", 11, 7)]
    teacher = Teacher(device, fits)
    (chunk,) = infer_chunks(
        teacher,  # type: ignore[arg-type]
        [(0, rows)],
        load=lambda row: noise_image(row.height, row.width)[0].numpy(),
        decoders=1,
        window=(20, 30),
        overlap=5,
    )
    assert max(teacher.network.seen) == (20, 30)
    for row, (name, codes) in zip(rows, chunk.codes, strict=True):
        assert name == row.id
        np.testing.assert_array_equal(codes, teacher.network(noise_image(row.height, row.width))[0].numpy())


def test_an_overlap_as_large_as_a_window_is_refused() -> None:
    assert InferConfig(window=(512, 300)).overlap == 256
    with pytest.raises(ValidationError, match="overlap must be less than both sides of window"):
        InferConfig(window=(512, 256))
