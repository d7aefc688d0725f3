"""Every architecture and backbone, tiny and random, against the post-processing of its library."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from autolabel.errors import ConfigError
from autolabel.inference.decision import encode_probabilities
from autolabel.labels.codebook import Codebook
from autolabel.losses import training_loss
from autolabel.models import HuggingFaceModel, network_from_bytes, network_to_bytes, normalise
from autolabel.models.huggingface import FolderFiles, model_as_it_is, model_to_train
from autolabel.models.huggingface.scores import Logits, Queries, as_probabilities, scores
from autolabel.training.activation_checkpointing import checkpoint_activations
from tests.helpers.hf_folders import MODELS, NAMES, build, save, transformers

OURS = ("Road", "side walk", "Car", "pole", "SKY")


def files(folder: Path, processor: bytes | None = None) -> FolderFiles:
    config = (folder / "config.json").read_bytes()
    return FolderFiles(str(folder), config, processor, [(folder / "model.safetensors").read_bytes])


def pixels(height: int, width: int, batch: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (batch, height, width, 3), generator=torch.Generator().manual_seed(3)).to(torch.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
@torch.inference_mode()
def test_probabilities_of_any_size_and_scale_become_valid_codes(kind: str, tmp_path: Path) -> None:
    model, card, missing = model_as_it_is(files(save(tmp_path, kind)), OURS, {"sidewalk": "side walk"})
    assert card.train_ids == (0, 1, 2, 4, -1)
    assert missing == ("pole",)
    book = Codebook(len(OURS))
    for height, width, scale in ((1, 1, 1.0), (37, 53, 2.0), (64, 96, 0.5)):
        images = normalise(pixels(height, width), card.mean, card.std)
        found = model.probabilities(images, scale=scale)
        assert found.shape == (1, len(OURS) + 1, height, width)
        assert not found[:, 3].any(), "no class counts for pole"
        codes = encode_probabilities(found, book).numpy()
        best = found[:, :-1].amax(dim=1).numpy()
        assert (codes[best > 0.0011] < book.num_codes).all()
        assert (codes[best < 0.0009] == book.invalid).all()
    data = network_to_bytes(model, card)
    again, same_card = network_from_bytes(data, "w")
    assert isinstance(again, HuggingFaceModel)
    assert same_card == card
    assert torch.equal(again.probabilities(images), model.probabilities(images))
    assert network_to_bytes(again, same_card) == data
    assert str(tmp_path).encode() not in data


def compare(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Probabilities (1, K + 1, H, W) with the library's scores (K, H, W): logits, or sums over queries."""
    total = expected.sum(0)
    p = expected.softmax(0) if expected.min() < 0 else expected / total.clamp(min=1)
    torch.testing.assert_close(found[0, :-1], p, rtol=1e-4, atol=1e-5)
    assert p.std(dim=(1, 2)).max() > 0.002, "maps worth comparing"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "processor", "size"),
    [
        ("segformer", "Segformer", (70, 91)),
        ("upernet-convnextv2", "Segformer", (64, 96)),
        ("upernet-swin", "Segformer", (64, 96)),
        ("upernet-dinov3_vit", "Segformer", (64, 96)),
        ("beit", "Beit", (32, 32)),
        ("mask2former", "Mask2Former", (384, 384)),  # the size to which its processor enlarges masks
        ("mask2former-dinov3", "Mask2Former", (384, 384)),
    ],
)
@torch.inference_mode()
def test_probabilities_are_those_of_the_library(
    kind: str, processor: str, size: tuple[int, int], tmp_path: Path
) -> None:
    post = getattr(transformers, f"{processor}ImageProcessorPil").post_process_semantic_segmentation
    model, card, _ = model_as_it_is(files(save(tmp_path, kind)), None, {})
    images = normalise(pixels(*size), card.mean, card.std)
    (expected,) = post(None, build(kind)(images), target_sizes=[size], return_segmentation_scores=True)
    compare(model.probabilities(images), expected.segmentation_scores)


@pytest.mark.slow
@torch.inference_mode()
def test_oneformer_is_asked_for_the_semantic_task(tmp_path: Path) -> None:
    model, card, _ = model_as_it_is(files(save(tmp_path, "oneformer")), None, {})
    images = normalise(pixels(64, 96), card.mean, card.std)
    task = torch.tensor([[49406, 518, 10549, 533, 29119, 1550, 49407] + [0] * 70])
    output = build("oneformer")(images, task_inputs=task)
    masks = torch.nn.functional.interpolate(output.masks_queries_logits, (64, 96), mode="bilinear").sigmoid()
    classes = output.class_queries_logits.softmax(-1)[..., :-1]
    compare(model.probabilities(images), torch.einsum("bqc,bqhw->bchw", classes, masks)[0])
    other = build("oneformer")(images, task_inputs=torch.zeros_like(task)).class_queries_logits
    assert not torch.allclose(output.class_queries_logits, other, atol=1e-3), "the task matters"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["eomt", "eomt_dinov3"])
@pytest.mark.parametrize("size", [(32, 32), (32, 75), (90, 32)])
@torch.inference_mode()
def test_windows_are_those_of_the_library(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    edges = {"shortest_edge": 32, "longest_edge": None}
    processor = transformers.EomtImageProcessorPil(size=edges, do_split_image=True, do_pad=False)
    image = pixels(*size)[0].numpy()
    inputs = processor(image, return_tensors="pt")
    output = build(kind)(inputs["pixel_values"])
    output.patch_offsets = inputs["patch_offsets"]
    (expected,) = processor.post_process_semantic_segmentation(
        output, target_sizes=[size], size=edges, return_segmentation_scores=True
    )
    model, card, _ = model_as_it_is(files(save(tmp_path, kind)), None, {})
    found = model.probabilities(normalise(torch.from_numpy(image[None]), card.mean, card.std))
    compare(found, expected.segmentation_scores)


@torch.inference_mode()
def test_an_image_s_probabilities_depend_on_no_other_image_of_the_batch(tmp_path: Path) -> None:
    model, _, _ = model_as_it_is(files(save(tmp_path, "eomt")), None, {})
    assert model.workable_size((20, 40)) == (32, 64), "enlarged until a window fits"
    assert model.workable_size((33, 500)) == (33, 500)
    images = normalise(pixels(45, 70, batch=2))
    torch.testing.assert_close(model.probabilities(images)[1:], model.probabilities(images[1:]))


def test_scores_are_those_of_a_loop() -> None:
    """In float64: softmax, sigmoid and sums over classes, query by query."""
    rng = np.random.default_rng(0)
    maps, size = (0, 2, 0, 1), (3, 4)
    classes, masks = rng.normal(0, 2, (1, 40, 5)), rng.normal(0, 3, (1, 40, *size))
    found = scores(Queries(torch.tensor(classes).float(), torch.tensor(masks).float()), maps, 3, size)
    expected = np.zeros((3, *size))
    for query in range(40):
        p = np.exp(classes[0, query]) / np.exp(classes[0, query]).sum()
        for label in range(4):
            expected[maps[label]] += p[label] / (1 + np.exp(-masks[0, query]))
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    logits = rng.normal(0, 2, (1, 4, *size))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = scores(Logits(torch.tensor(logits).float()), maps, 3, size)
    np.testing.assert_allclose(found[0], [p[0, 0] + p[0, 2], p[0, 3], p[0, 1]], rtol=1e-5)


def test_what_no_query_claims_belongs_to_no_class() -> None:
    pixel = torch.tensor([[0.6, 0.3, 0.0], [1.5, 0.4, 0.1], [0.0, 0.0, 0.0], [0.5, 0.2, 0.3]]).T.reshape(1, 3, 1, 4)
    found = as_probabilities(pixel.clone())[0, :, 0].T
    expected = [[0.6, 0.3, 0.1], [0.75, 0.2, 0.05], [0, 0, 1], [0.5, 0.2, 0.3]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    book = Codebook(2)
    codes = encode_probabilities(found.T.reshape(1, 3, 1, 4), book).flatten().tolist()
    assert codes == [book.edges.index(0.6), book.edges.index(0.75), book.invalid, book.edges.index(0.5)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["segformer", "upernet-swin", "beit", "mask2former", "oneformer", "eomt", "eomt_dinov3"]
)
def test_half_precision_decides_in_float32(kind: str, tmp_path: Path) -> None:
    model, card, _ = model_as_it_is(files(save(tmp_path, kind)), None, {})
    images = normalise(pixels(64, 64), card.mean, card.std)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.probabilities(images)
    assert found.dtype == torch.float32
    assert (found.sum(1) - 1).abs().max() < 1e-5


@pytest.mark.slow
def test_statistics_come_from_the_folder(tmp_path: Path) -> None:
    folder = save(tmp_path, "segformer")

    def of(text: str) -> tuple[float, ...]:
        card = model_as_it_is(files(folder, text.encode()), NAMES, {}).card
        return (*card.mean, *card.std)

    assert of("{}") == pytest.approx((0.485, 0.456, 0.406, 0.229, 0.224, 0.225))
    assert of('{"image_mean": [0.1, 0.2, 0.3], "image_std": 0.5}') == pytest.approx((0.1, 0.2, 0.3, 0.5, 0.5, 0.5))
    assert of('{"image_processor": {"image_mean": 0.25, "image_std": 0.5}}') == pytest.approx((0.25,) * 3 + (0.5,) * 3)
    assert of('{"do_normalize": false}') == pytest.approx((0, 0, 0, 1, 1, 1))
    bytes_as_they_are = '{"do_rescale": false, "image_mean": [127.5, 0, 255], "image_std": [51, 51, 51]}'
    assert of(bytes_as_they_are) == pytest.approx((0.5, 0, 1, 0.2, 0.2, 0.2))
    assert model_as_it_is(files(save(tmp_path / "b", "beit")), NAMES, {}).card.mean == (0.5, 0.5, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segformer", "upernet-swin", "upernet-dinov2"])
def test_activation_checkpointing_gives_the_same_gradients(kind: str, tmp_path: Path) -> None:
    plain = model_to_train(files(save(tmp_path, kind)), NAMES, {}).model.train()
    thrifty = copy.deepcopy(plain)
    runs = [0]
    for layer in thrifty.checkpoint_blocks():
        linear = next(module for module in layer.modules() if isinstance(module, torch.nn.Linear))
        linear.register_forward_hook(lambda *_: runs.append(runs.pop() + 1))
    checkpoint_activations(thrifty)
    for model in (plain, thrifty):
        torch.manual_seed(0)  # there is dropout
        training_loss(model(normalise(pixels(64, 64, 2))), torch.ones(2, 64, 64, dtype=torch.long)).backward()
    for found, expected in zip(thrifty.parameters(), plain.parameters(), strict=True):
        assert (found.grad is None) == (expected.grad is None)
        assert found.grad is None or torch.equal(found.grad, expected.grad)
    assert runs[0] == 2 * len(thrifty.checkpoint_blocks()) > 0


def test_a_network_without_layers_to_run_again_is_refused(tmp_path: Path) -> None:
    model = model_to_train(files(save(tmp_path, "upernet-convnext")), NAMES, {}).model
    with pytest.raises(ConfigError, match="no layers that support it"):
        checkpoint_activations(model)
