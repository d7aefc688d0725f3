"""`autolabel.load`: the labels of `predict`, from every form of image, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import autolabel
from autolabel import errors
from tests.cli.predict_call import predict, tiny_weights

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 36, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def predictor(weights: Path) -> autolabel.Predictor:
    return autolabel.load(weights, scales=(0.5, 1.0), device="cpu")


def test_the_labels_are_those_of_the_command(weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(file)
    assert predict(weights, file, "--threshold", 0.6, "--out", tmp_path / "out").exit_code == 0
    capfd.readouterr()
    found = autolabel.load(weights, scales=[1.0], threshold=0.6, device="cpu")(file)
    saved = found.save(tmp_path / "new" / "label.png")
    assert capfd.readouterr() == ("", "")
    assert saved.read_bytes() == (tmp_path / "out" / "labels" / "a.png").read_bytes()
    np.testing.assert_array_equal(np.asarray(found.overlay()), Image.open(tmp_path / "out" / "overlays" / "a.png"))


def test_maps_of_a_prediction(predictor: autolabel.Predictor) -> None:
    found = predictor(PIXELS)
    assert predictor.classes.names == found.classes.names == ("a", "b")
    classes, bins = found.codebook.classes_and_bins(found.codes)
    np.testing.assert_array_equal(found.labels, classes)
    limits = np.array([0, *found.codebook.edges, 1])
    np.testing.assert_allclose(found.confidence, (limits[bins] + limits[bins + 1]) / 2, rtol=1e-6)
    assert found.confidence.min() > 0.4, "two classes: the winner has at least about a half"
    assert sorted(found.attention) == [0.5, 1.0]
    np.testing.assert_allclose(sum(found.attention.values()), np.ones((24, 36)), atol=1e-5)


def test_all_forms_of_an_image_are_the_same(predictor: autolabel.Predictor, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(file)
    image = Image.fromarray(PIXELS).convert("RGBA")
    for form in (file, str(file), image, Image.open(file), np.asfortranarray(PIXELS)):
        np.testing.assert_array_equal(predictor(form).labels, predictor(PIXELS).labels)
    assert image.mode == "RGBA"


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_streams(predictor: autolabel.Predictor, batch: int) -> None:
    images = [PIXELS, PIXELS[:, ::-1], PIXELS[:16], PIXELS[:16, :20]]
    taken: list[int] = []

    def source() -> object:
        for number, image in enumerate(images):
            taken.append(number)
            yield np.ascontiguousarray(image)

    stream = predictor.map(source(), batch=batch)
    first = next(stream)
    assert len(taken) == min(batch, len(images)), "no more is read than a batch needs"
    for found, image in zip([first, *stream], images, strict=True):
        alone = predictor(np.ascontiguousarray(image))
        assert np.mean(found.labels == alone.labels) > 0.99
        assert found.image.shape == image.shape


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (None, "of type NoneType; give a path"),
        (3, "of type int"),
        ([PIXELS], "of type list; give one image, or call map"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), r"of type Tensor; give image.permute"),
        (PIXELS.astype(np.float32), "array of float32, not uint8"),
        (PIXELS[..., 0], r"array of shape \(24, 36\)"),
        (PIXELS[:0], r"array of shape \(0, 36, 3\)"),
        (Image.new("I;16", (4, 4)), "no agreed range"),
        ("missing.png", "missing.png: cannot be read: No such file"),
        ("a\0b", "cannot be read"),
    ],
    ids=["none", "int", "list", "tensor", "float", "grey", "empty", "16 bits", "missing", "nul"],
)
def test_no_image(predictor: autolabel.Predictor, image: object, text: str) -> None:
    with pytest.raises(errors.ImageError, match=text):
        predictor(image)
    with pytest.raises(errors.ImageError, match=text):
        list(predictor.map([image]))


def test_files_that_are_no_images(predictor: autolabel.Predictor, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(errors.ImageError, match=r"a\.png: is no PNG"):
        predictor(tmp_path / "a.png")
    with pytest.raises(errors.ImageError, match="cannot be read"):
        predictor(tmp_path)


@pytest.mark.parametrize("images", ["a.png", PIXELS, 3, None, Path("x")], ids=str)
def test_map_needs_several(predictor: autolabel.Predictor, images: object) -> None:
    with pytest.raises(errors.ConfigError, match="images: is one"):
        predictor.map(images)
    for batch in (0, -1, 1.5, True, "2"):
        with pytest.raises(errors.ConfigError, match="no number of images"):
            predictor.map([], batch=batch)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scales": ()}, "scales: .*1.0 among them"),
        ({"scales": 1.0}, "scales: 1.0: distinct numbers"),
        ({"scales": (0.5, "x")}, "scales"),
        ({"scales": (1.0, 9.0)}, "scales"),
        ({"threshold": 1.5}, "threshold: 1.5: 0, or"),
        ({"threshold": float("nan")}, "threshold: nan: 0, or"),
        ({"threshold": "0.5"}, "threshold: '0.5' is no number"),
        ({"device": "gpu"}, "device: 'gpu' is no device"),
        ({"device": 3}, "device"),
        ({"flip": "no"}, "flip: 'no' is neither True nor False"),
        ({"precision": "int8"}, "precision: 'int8' is not known; one of fp32, bf16"),
    ],
    ids=str,
)
def test_wrong_options(weights: Path, options: dict[str, object], text: str) -> None:
    with pytest.raises(errors.ConfigError, match=text):
        autolabel.load(weights, **options)


def test_wrong_sources(tmp_path: Path) -> None:
    for source, text in (
        (tmp_path / "no.safetensors", "No such file"),
        ("no.safetensors", "No such file"),
        (tmp_path, "no teacher or student artefact"),
        ("no/model", "neither a folder nor in the local Hugging Face cache"),
        (None, "source: is of type NoneType; give a path or a hub id"),
    ):
        with pytest.raises(errors.WeightsError, match=text):
            autolabel.load(source)


def test_saving(predictor: autolabel.Predictor, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(file)
    data = file.read_bytes()
    found = predictor(file)
    for name, text in ((file, "is the image itself"), (tmp_path / "b.jpg", r"does not end in \.png")):
        with pytest.raises(errors.ConfigError, match=text):
            found.save(name)
    assert file.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    for path in (None, 3, b"a.png"):
        with pytest.raises(errors.ConfigError, match="path: is of type"):
            found.save(path)
    with pytest.raises(errors.ConfigError, match="alpha: 2 is not from 0 to 1"):
        found.overlay(2)
    with pytest.raises(errors.ConfigError, match="alpha: is of type str; give a number"):
        found.overlay("0.5")
