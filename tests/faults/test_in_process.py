"""A part of what `make soak` tries in process: kills, power cuts, flipped bits, and mutants of the durable code."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import (
    fault_environments,
    fault_flips,
    fault_inputs,
    fault_kills,
    fault_links,
    fault_mutants,
    fault_power,
    fresh,
)
from tests.faults.disk import MODES, Disk, Mode, Op
from tests.faults.tally import Tally

pytestmark = pytest.mark.xdist_group("faults in process")

TRIES = {
    fault_kills.kills: 40,
    fault_kills.double_kills: 12,
    fault_kills.failed_effects: 12,
    fault_power.power_loss: 40,
    fault_flips.bit_flips: 100,
    fault_mutants.mutants: len(fault_mutants.MUTANTS),
    fault_inputs.run: 8,
    fault_links.run: 20,
    fault_environments.run: 10,
}
# The same with code that breaks the promise: number and seed. `blind` needs an experiment of its own, whose digests it
# remembers itself; the seed of `trusting` begins with `gc` and folders of telling names.
BLIND = {fault_inputs.blind: (12, 1), fault_links.trusting: (4, 26), fault_environments.careless: (10, 0)}


@pytest.fixture(scope="module")
def small_process() -> Iterator[None]:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="autolabel-faults-", dir=memory if memory.is_dir() else None))
    with fresh.one_process(folder):
        yield
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("small_process")
@pytest.mark.parametrize("fault", TRIES, ids=lambda fault: f"{fault.__module__}.{fault.__name__}")
def test_none_of_a_few_breaks_a_promise(ram: Path, fault: fresh.Run) -> None:
    tally: Tally = fault(TRIES[fault], 0, ram)
    assert not tally.bad
    assert tally.tried == TRIES[fault]


@pytest.mark.slow
@pytest.mark.usefixtures("small_process")
def test_links_in_a_folder_whose_runs_end_with_5(ram: Path) -> None:
    """The experiments of odd seeds have an image that cannot be used."""
    assert fault_links.run(3, 1, ram).bad == ()


@pytest.mark.slow
@pytest.mark.usefixtures("small_process")
@pytest.mark.parametrize("fault", BLIND, ids=lambda fault: fault.__name__)
def test_a_broken_promise_is_found(ram: Path, fault: fresh.Run) -> None:
    assert fault(*BLIND[fault], ram).bad


@pytest.mark.slow
@pytest.mark.usefixtures("small_process")
def test_code_that_is_no_mutant_is_not_caught(ram: Path) -> None:
    assert fault_mutants.control(20, 0, ram).bad == ()


# ---- the disk that power cuts are tried on


def after(tmp_path: Path, mode: Mode, *ops: Op) -> dict[str, bytes]:
    template = tmp_path / "template"
    template.mkdir()
    (template / "old").write_bytes(b"old")
    disk = Disk(template)
    for op in ops:
        disk.apply(op)
    disk.after_power_cut(mode, random.Random(0), tmp_path / "after")
    return {path.name: path.read_bytes() for path in (tmp_path / "after").iterdir()}


CREATE, WRITE, FSYNC = Op("create", "t", "", b"", 0), Op("write", "t", "", b"new", 0), Op("fsync", "t", "", b"", 0)
RENAME, SYNC = Op("rename", "t", "old", b"", 0), Op("fsync_folder", ".", "", b"", 0)


def test_strictly_nothing_survives_that_was_not_synced(tmp_path: Path) -> None:
    assert after(tmp_path, "strict", CREATE, WRITE, FSYNC, RENAME) == {"old": b"old"}


def test_names_alone_survive_without_their_bytes(tmp_path: Path) -> None:
    assert after(tmp_path, "names only", CREATE, WRITE, RENAME)["old"] != b"old"


@pytest.mark.parametrize("mode", MODES)
def test_what_was_synced_survives(tmp_path: Path, mode: Mode) -> None:
    assert after(tmp_path, mode, CREATE, WRITE, FSYNC, RENAME, SYNC) == {"old": b"new"}


def test_a_folder_synced_before_its_file_holds_an_empty_one(tmp_path: Path) -> None:
    assert after(tmp_path, "strict", CREATE, WRITE, RENAME, SYNC) == {"old": b""}
