"""SegFormer and UperNet in the loop that trains our own networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from autolabel.models import HuggingFaceModel, network_to_bytes
from autolabel.models.huggingface import FolderFiles, model_to_train
from autolabel.signals import StopFlag, Stopped
from tests.helpers.hf_folders import MODELS, save
from tests.training.tiny_training import NAMES, digest, settings, train

KINDS = ("segformer", "upernet-resnet", "upernet-convnextv2")


def files(folder: Path) -> FolderFiles:
    return FolderFiles("x", (folder / "config.json").read_bytes(), None, [(folder / "model.safetensors").read_bytes])


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save(tmp_path, request.param, ("car", "tree", "road"))


def begin(folder: Path) -> HuggingFaceModel:
    torch.manual_seed(3)
    return model_to_train(files(folder), NAMES, {}).model


class StopAt(StopFlag):
    def __init__(self, saved: list[bytes], count: int) -> None:
        super().__init__()
        self.saved, self.count = saved, count

    def __call__(self) -> bool:
        if len(self.saved) == self.count:
            self.signum = 15
        return super().__call__()


@pytest.mark.slow
def test_a_resumed_training_ends_in_the_same_bits(folder: Path) -> None:
    """With drop path, dropout, batch norm and averaging."""
    table = settings(crop=(64, 64), lr=1e-3, optimizer="adamw", validate_every=0)
    whole = begin(folder)
    result = train(whole, table=table)
    saved: list[bytes] = []
    with pytest.raises(Stopped):
        train(begin(folder), table=table, saved=saved, stop=StopAt(saved, 3))
    resumed = begin(folder)
    assert train(resumed, table=table, resume=saved[-1]).steps == result.steps == 7
    assert digest(resumed) == digest(whole) != digest(begin(folder))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segformer", "upernet-resnet"])
def test_it_learns(kind: str, tmp_path: Path) -> None:
    rows: list[dict] = []
    table = settings(crop=(24, 32), lr=1e-2, optimizer="adamw", epochs=24, ema=0.0, validate_every=0)
    train(begin(save(tmp_path, kind, ("x", "y"))), table=table, rows=rows)
    losses = [row["loss"] for row in rows if row["kind"] == "step"]
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])


@pytest.mark.slow
def test_rows_of_the_classifier_stay_with_their_class(tmp_path: Path) -> None:
    """Our road was its third class, car its first; sky is new."""
    theirs = model_to_train(
        files(save(tmp_path, "upernet-resnet", ("car", "tree", "road"))), ("car", "tree", "road"), {}
    )
    torch.manual_seed(0)
    model, card, missing = model_to_train(files(tmp_path), NAMES, {})
    assert (missing, card.train_ids, card.class_names) == (("sky",), (0, 1, 2), NAMES)
    assert json.loads(json.dumps(card.huggingface))["id2label"] == {"0": "road", "1": "sky", "2": "car"}
    for head in ("decode_head", "auxiliary_head"):
        old, new = (getattr(m.network, head).classifier for m in (theirs.model, model))
        assert torch.equal(new.weight[0], old.weight[2])
        assert torch.equal(new.weight[2], old.weight[0])
        assert new.bias[0] == old.bias[2]
        assert new.weight[1].abs().max() < 0.06
        assert new.bias[1].item() == pytest.approx(-0.6931, abs=1e-4)
    rest = {k: v for k, v in model.state_dict().items() if "classifier" not in k}
    assert all(torch.equal(v, theirs.model.state_dict()[k]) for k, v in rest.items())
    assert network_to_bytes(model, card) == network_to_bytes(model, card)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind.startswith(("segformer", "upernet"))])
def test_every_gradient_arrives(kind: str, tmp_path: Path) -> None:
    """Several processes wait for all of them."""
    model = begin(save(tmp_path, kind, ("x", "y"))).train()
    output = model(torch.randn(2, 3, 64, 64))
    auxiliary = 0 if output.fused_aux is None else output.fused_aux.square().mean()
    (output.fused.square().mean() + auxiliary).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_the_training_pass_has_the_size_of_the_images(tmp_path: Path) -> None:
    model = begin(save(tmp_path, "upernet-resnet", ("x", "y"))).train()
    output = model(torch.randn(2, 3, 45, 70))
    assert output.fused.shape == (2, 3, 45, 70)
    assert output.fused_aux is not None
    assert output.fused_aux.shape == (2, 3, 45, 70)
    assert model.eval()(torch.randn(1, 3, 45, 70)).fused_aux is None
