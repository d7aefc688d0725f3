"""Two ranks on one machine give the figures of one process and have the same state."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from autolabel.config.networks import TeacherConfig
from autolabel.config.schema import RuntimeConfig
from autolabel.distributed import SINGLE_PROCESS, ProcessGroup, from_env
from autolabel.errors import ConfigError, naming_settings
from autolabel.training.optim import prepare_norms, statistics_differ
from tests.helpers.hang import HANG_SECONDS
from tests.helpers.paths import ROOT
from tests.training.ranks_at_work import STEPS, dropout_of, exact_run
from tests.training.tiny_training import network, settings, train

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--log-dir=/dev/null"]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    saved: list[bytes] = []
    return {"fp64": exact_run("fp64", saved=saved), "fp32": exact_run("fp32"), "saved": saved}


@pytest.fixture(scope="module")
def folder(alone: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of two ranks."""
    path = tmp_path_factory.mktemp("ranks")
    (path / "one-rank.pt").write_bytes(alone["saved"][39])
    subprocess.run(
        [*TORCHRUN, "-m", "tests.training.ranks_at_work", str(path)], cwd=ROOT, check=True, timeout=HANG_SECONDS
    )
    return path


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def curve(run: dict[str, Any]) -> list[float]:
    return [loss for _, loss in sorted((int(step), loss) for step, loss in run["losses"].items())]


@pytest.mark.slow
def test_the_loss_curve_is_that_of_one_process(alone: dict[str, Any], ranks: list[dict[str, Any]]) -> None:
    assert len(curve(alone["fp64"])) == STEPS
    assert curve(ranks[0]["fp64"]) == pytest.approx(curve(alone["fp64"]), rel=1e-9, abs=1e-9)
    assert len(curve(alone["fp32"])) == 5
    assert curve(ranks[0]["fp32"]) == pytest.approx(curve(alone["fp32"]), rel=1e-5, abs=1e-5)
    assert ranks[0]["fp32"]["digest"] != alone["fp32"]["digest"]


@pytest.mark.slow
def test_validation_looks_at_every_image_once(alone: dict[str, Any], ranks: list[dict[str, Any]]) -> None:
    assert len(alone["fp64"]["history"]) == 5
    assert [rank["fp64"]["history"] for rank in ranks] == [alone["fp64"]["history"]] * 2


@pytest.mark.slow
def test_another_number_of_ranks_goes_on_in_the_same_order(
    alone: dict[str, Any], ranks: list[dict[str, Any]], folder: Path
) -> None:
    expected = curve(alone["fp64"])
    assert curve(ranks[0]["resumed"]) == pytest.approx(expected[40:], rel=1e-9, abs=1e-9)  # one, then two
    back = exact_run("fp64", resume=(folder / "two-ranks.pt").read_bytes())
    assert curve(back) == pytest.approx(expected[40:], rel=1e-9, abs=1e-9)  # two, then one


@pytest.mark.slow
def test_all_ranks_end_in_the_same_state(ranks: list[dict[str, Any]]) -> None:
    for part in ("fp64", "fp32", "resumed", "usual"):
        assert ranks[0][part]["digest"] == ranks[1][part]["digest"], part
    assert ranks[0]["usual"]["history"] == ranks[1]["usual"]["history"] != []


@pytest.mark.slow
def test_only_rank_0_writes(ranks: list[dict[str, Any]]) -> None:
    assert [rank["usual"]["num_saved"] for rank in ranks] == [7, 0]
    assert ranks[0]["fp64"]["losses"]
    assert not ranks[1]["fp64"]["losses"]


@pytest.mark.slow
def test_every_rank_drops_other_features_and_rank_0_those_of_one_process(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["dropped"] == dropout_of(SINGLE_PROCESS) != ranks[1]["dropped"]


@pytest.mark.slow
def test_a_loss_that_one_rank_cannot_compute_is_skipped_by_all(ranks: list[dict[str, Any]]) -> None:
    assert [rank["bad"] for rank in ranks] == [{"skipped": True, "loss": None, "untouched": True}] * 2


@pytest.mark.slow
def test_all_ranks_stop_at_the_step_at_which_one_is_asked_to(ranks: list[dict[str, Any]]) -> None:
    assert [rank["stopped"] for rank in ranks] == [{"signum": 15, "num_saved": 3}, {"signum": 15, "num_saved": 0}]


@pytest.mark.slow
def test_bytes_come_from_rank_0(ranks: list[dict[str, Any]]) -> None:
    assert all(rank["none"] and rank["bytes"] for rank in ranks)


def test_frozen_norms_keep_their_statistics_and_train_the_rest() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, table=settings(freeze_norms=True, ema=0.0))
    same = {name for name, value in model.state_dict().items() if value.equal(before[name])}
    assert same == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    assert ProcessGroup(size=2).local_batch_size(6) == 3
    refused = pytest.raises(ConfigError, match=r"^teacher\.batch: a batch of 3 cannot be shared evenly by 2 processes")
    with refused, naming_settings(TeacherConfig().place):
        ProcessGroup(size=2).local_batch_size(3)


def test_the_machine_is_shared_among_its_ranks() -> None:
    world = ProcessGroup(1, 4, 1, 2)
    assert world.runtime_for_rank(RuntimeConfig(device="cpu", jobs=3)).jobs == 3
    assert world.runtime_for_rank(RuntimeConfig(device="cpu")).threads >= 1
    with pytest.raises(ConfigError, match="not on this machine"):
        world.runtime_for_rank(RuntimeConfig(device="cuda:99"))
    assert SINGLE_PROCESS.runtime_for_rank(RuntimeConfig()) == RuntimeConfig()


def test_what_torchrun_says() -> None:
    said = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    said |= {"MASTER_ADDR": "node-0", "MASTER_PORT": "29500"}
    assert from_env({**said, "TORCHELASTIC_RUN_ID": "x"}) == ProcessGroup(3, 4, 1, 2)
    assert from_env(said) == SINGLE_PROCESS, "another program's variables"
    assert from_env({**said, "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "x"}) == SINGLE_PROCESS


def test_on_gpus_norms_see_all_images_or_say_that_they_do_not() -> None:
    """Torch runs synchronous batch norm on GPUs only; the conversion shows anywhere."""
    cuda, world = torch.device("cuda"), ProcessGroup(size=2)
    synced, own, frozen = (network().train() for _ in range(3))
    kept = dict(synced.named_parameters())
    prepare_norms(synced, settings(), device=cuda, world=world)
    prepare_norms(own, settings(sync_norms=False), device=cuda, world=world)
    prepare_norms(frozen, settings(freeze_norms=True), device=cuda, world=world)
    assert [statistics_differ(model, world) for model in (synced, own, frozen)] == [False, True, False]
    assert not statistics_differ(own, SINGLE_PROCESS)
    assert list(synced.state_dict()) == list(own.state_dict())
    assert all(parameter is kept[name] for name, parameter in synced.named_parameters())
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(synced.eval()(images).fused, own.eval()(images).fused)
