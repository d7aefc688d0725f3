"""A network that is asked by text (SAM 3), tiny and random: against a loop over its prompts, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from autolabel.errors import AutolabelError, WeightsError
from autolabel.models import network_from_bytes, network_to_bytes, normalise
from autolabel.models.huggingface import FolderFiles, model_as_it_is, model_to_train
from autolabel.models.huggingface.architectures import ARCHITECTURES
from autolabel.models.huggingface.prompts import prompts_for
from autolabel.models.huggingface.scores import Concepts, as_probabilities, scores
from autolabel.stages.huggingface_folder import PROMPTED, folder_identity, read_files
from autolabel.store import InputDigests
from tests.helpers.hf_folders import build_sam3, save, save_sam3, transformers

OURS = ("road", "car", "sky")
TABLE = {"a red car": "car", "car": "car", "traffic_light": ""}
PROMPTS = ("a red car", "car", "traffic light", "road", "sky")
TARGETS = (1, 1, 3, 0, 2)
SIZE = (50, 90)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam3(tmp_path_factory.mktemp("sam3"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def images(batch: int = 1) -> torch.Tensor:
    pixels = torch.randint(0, 256, (batch, *SIZE, 3), generator=torch.Generator().manual_seed(3))
    return normalise(pixels.to(torch.uint8), (0.5,) * 3, (0.5,) * 3)


def sigmoid(values: torch.Tensor) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-values.double().numpy())))


def resized(map_: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    tensor = torch.from_numpy(map_)[None, None]
    return np.asarray(torch.nn.functional.interpolate(tensor, size, mode="bilinear")[0, 0])


def looped(folder: Path, image: torch.Tensor) -> np.ndarray:
    """(K + 1, H, W) of one image: prompt by prompt and query by query, with the library's own padding and mask."""
    network = build_sam3()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<end>")
    square = torch.nn.functional.interpolate(image, (64, 64), mode="bilinear")
    claims = np.zeros((len(OURS) + 1, *SIZE))
    for prompt, target in zip(PROMPTS, TARGETS, strict=True):
        text = tokenizer([prompt], return_tensors="pt", padding="max_length", max_length=8)
        with torch.inference_mode():
            output = network(pixel_values=square, input_ids=text["input_ids"], attention_mask=text["attention_mask"])
        query_scores = sigmoid(output.pred_logits)[0] * sigmoid(output.presence_logits)[0]
        best = np.zeros(output.pred_masks.shape[2:])
        for score, mask in zip(query_scores, sigmoid(output.pred_masks)[0], strict=True):
            best = np.maximum(best, score * mask)
        claims[target] = np.maximum(claims[target], resized(best, SIZE))
    total = claims.sum(axis=0)
    result = claims / np.maximum(total, 1)
    result[-1] += 1 - np.minimum(total, 1)
    return np.asarray(result)


@torch.inference_mode()
def test_probabilities_are_those_of_a_loop_over_prompts(folder: Path) -> None:
    model, card, missing = model_as_it_is(read_files(str(folder)), OURS, TABLE)
    assert missing == ()
    assert card.train_ids == (1, 1, -1, 0, 2)
    both = images(2)
    found = model.probabilities(both)
    expected = np.stack([looped(folder, image[None]) for image in both])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert found.std(dim=(2, 3)).min() > 0.002, "maps worth comparing"
    assert not torch.allclose(found[:, 0], found[:, 2], atol=1e-3), "the text matters"
    data = network_to_bytes(model, card)
    again, same_card = network_from_bytes(data, "w")
    assert same_card == card
    assert torch.equal(again.probabilities(both), found), "the copy in an artefact needs no tokenizer"


@torch.inference_mode()
def test_larger_scales_see_parts_of_the_image(folder: Path) -> None:
    model, _, _ = model_as_it_is(read_files(str(folder)), OURS, TABLE)
    image = images()
    assert torch.equal(model.probabilities(image, scale=0.5), model.probabilities(image)), "never below its size"
    large = torch.nn.functional.interpolate(image, (128, 128), mode="bilinear")
    quarter = model.probabilities(large[..., :64, :64])
    twice = model.probabilities(large, scale=2.0)[..., :64, :64]
    torch.testing.assert_close(twice, quarter, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_folder_that_holds_a_tracker_too(folder: Path) -> None:
    expected = model_as_it_is(read_files(str(folder)), OURS, TABLE).model.probabilities(images())
    config = json.loads((folder / "config.json").read_text())
    video = {"model_type": "sam3_video", "detector_config": config, "tracker_config": {"model_type": "sam3_tracker"}}
    (folder / "config.json").write_text(json.dumps(video))
    file = folder / "model.safetensors"
    tensors = {f"detector_model.{key}": value for key, value in safetensors.torch.load_file(file).items()}
    safetensors.torch.save_file({**tensors, "tracker_model.x": torch.zeros(2)}, file, metadata={"format": "pt"})
    found = model_as_it_is(read_files(str(folder)), OURS, TABLE).model.probabilities(images())
    assert torch.equal(found, expected)


def test_claims_compete_and_unclaimed_pixels_are_unsure() -> None:
    claims = torch.tensor([[[[0.9, 0.9, 0.0, 0.0]], [[0.0, 0.6, 0.6, 0.0]], [[0.3, 0.95, 0.0, 0.0]]]])
    found = as_probabilities(scores(Concepts(claims), (0, 1, 0), 3, (1, 4)))[0, :, 0]
    both = 0.95 + 0.6
    expected = [[0.9, 0.95 / both, 0, 0], [0, 0.6 / both, 0.6, 0], [0.1, 0, 0.4, 1]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_prompts_are_the_table_s_and_then_the_classes_it_leaves() -> None:
    assert prompts_for(OURS, {}) == OURS
    assert prompts_for(OURS, TABLE) == ("a red car", "car", "traffic_light", "road", "sky")
    assert prompts_for(("Traffic-Light", "sky"), {"lamp": "traffic light"}) == ("lamp", "sky")
    assert prompts_for(("other", "sky"), {"other": ""}) == ("other", "sky"), "asked for, and none of the classes"


def test_the_tokenizer_counts_where_it_is_used(folder: Path, tmp_path: Path) -> None:
    assert {name for name, one in ARCHITECTURES.items() if one.prompted} == set(PROMPTED) - {"sam3_video"}
    first = folder_identity(str(folder), InputDigests())
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    assert folder_identity(str(folder), InputDigests()) != first
    other = save(tmp_path / "segformer", "segformer")
    first = folder_identity(str(other), InputDigests())
    (other / "tokenizer.json").write_text("{}")
    assert folder_identity(str(other), InputDigests()) == first
    assert b'"prompts"' not in network_to_bytes(*model_as_it_is(read_files(str(other)), None, {})[:2])


def test_a_card_without_prompts(folder: Path) -> None:
    model, card, _ = model_as_it_is(read_files(str(folder)), OURS, TABLE)
    state = safetensors.torch.load(network_to_bytes(model, card))
    text = card.model_copy(update={"prompts": (), "train_ids": ()}).to_text()
    with pytest.raises(WeightsError, match=r"^w: card: its classes are not those of the network"):
        network_from_bytes(safetensors.torch.save(state, metadata={"autolabel": text}), "w")


def changed(files: FolderFiles, **parts: object) -> FolderFiles:
    config = json.loads(files.config)
    for name, value in parts.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    return files._replace(config=json.dumps(config).encode())


def test_what_is_refused(saved: Path) -> None:
    files = read_files(str(saved))
    tokenizer = json.loads(files.tokenizer or b"")
    tokenizer["model"]["vocab"]["road"] = 99
    other = json.dumps(tokenizer).encode()
    cases = {
        "holds no tokenizer.json": (files._replace(tokenizer=None), OURS, {}),
        "tokenizer.json is no tokenizer": (files._replace(tokenizer=b"{}"), OURS, {}),
        "tokenizer.json is no tokenizer: 'utf-8'": (files._replace(tokenizer=b"\xff"), OURS, {}),
        "gives token 99, and the network has 16": (files._replace(tokenizer=other), OURS, {}),
        "a prompt has 9 tokens, and the network reads 1 to 8": (files, OURS, {"a a a a a a red": "car"}),
        "the prompt '_' is no text": (files, OURS, {"_": "car"}),
        "'bus' is no class of the experiment": (files, OURS, {"a red bus": "bus"}),
        "and has none of its own; name it as teacher.huggingface": (files, None, {}),
        "text_config is not a table": (changed(files, text_config=3), OURS, {}),
        "has a 'swin' backbone": (
            changed(files, vision_config={"backbone_config": {"model_type": "swin"}}),
            OURS,
            {},
        ),
        "has more layers than the file": (changed(files, detr_decoder_config={"num_layers": 10**4}), OURS, {}),
        "hidden_size = 1000000 is too large": (changed(files, text_config={"hidden_size": 10**6}), OURS, {}),
        "entries missing": (changed(files, detr_encoder_config={"num_layers": 2}), OURS, {}),
    }
    for said, (case, names, table) in cases.items():
        with pytest.raises(AutolabelError) as caught:
            model_as_it_is(case, names, table)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(AutolabelError, match="SAM 3 cannot be trained"):
        model_to_train(files, OURS, {})
