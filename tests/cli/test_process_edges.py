"""The edges of a process: closed streams, little memory, few files, wrong variables of a launcher. One line each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autolabel.distributed import from_env
from autolabel.errors import ConfigError
from autolabel.store import Artefact
from tests.helpers.experiments import ONE_CORE, experiment_toml, scenes

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x",
    "RANK": "0",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    file = tmp_path / "x.toml"
    file.write_text(experiment_toml(data=scenes(32, 48, fine=2, coarse=1, val=1), runtime=ONE_CORE))
    return file


def shell(line: str, experiment: Path) -> subprocess.CompletedProcess[str]:
    command = line.replace("AUTOLABEL", f"'{sys.executable}' -m autolabel").replace("X", f"'{experiment}'")
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=experiment.parent)


def test_a_deleted_current_folder_is_one_line(experiment: Path) -> None:
    done = shell("mkdir gone && cd gone && rmdir ../gone && AUTOLABEL status X --work ../work", experiment)
    assert done.returncode == 1
    assert done.stderr == "autolabel: the current folder: is no longer there; change to another folder\n"


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(experiment: Path, closed: str) -> None:
    """The command does its work, and none of its files gets what was meant for a stream."""
    done = shell(f"AUTOLABEL manifest X --work work {closed}", experiment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    [path] = (experiment.parent / "work" / "artefacts" / "manifest").iterdir()
    assert Artefact.open(path).verify(full=True) == []
    assert shell(f"AUTOLABEL manifest missing.toml {closed}", experiment).returncode == 2


@pytest.mark.parametrize("limit", [150_000, 300_000, 900_000])
def test_too_few_addresses_are_refused_in_one_line(experiment: Path, limit: int) -> None:
    """Before libraries are loaded: there they may crash without a word, seldom and by chance."""
    done = shell(f"ulimit -v {limit}; AUTOLABEL manifest X --work work -q", experiment)
    assert done.returncode == 1
    assert done.stderr.startswith(f"autolabel: ulimit -v: limits this process to {limit // 1024} MiB of addresses")
    assert len(done.stderr.splitlines()) == 1
    assert not (experiment.parent / "work").exists()


@pytest.mark.slow
def test_little_memory_is_one_line(experiment: Path) -> None:
    done = shell("ulimit -v 1100000; AUTOLABEL manifest X --work work -q", experiment)
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert done.stderr.startswith("autolabel: ")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"RANK": "abc"}, "RANK: is 'abc', not a number"),
        ({"RANK": "-1"}, "RANK: is '-1', not a number"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE: is '', not a number"),
        ({"MASTER_PORT": "x"}, "MASTER_PORT: is 'x', not a number"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR: is not set"),
        ({"RANK": "2"}, "do not fit together"),
        ({"LOCAL_RANK": "2"}, "do not fit together"),
        ({"WORLD_SIZE": "0"}, "do not fit together"),
        ({"LOCAL_WORLD_SIZE": "3"}, "do not fit together"),
    ],
)
def test_wrong_variables_of_a_launcher(change: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        from_env(TORCHRUN | change)
    assert "torchrun" in str(refused.value)


@pytest.mark.parametrize("name", sorted(TORCHRUN.keys() - {"TORCHELASTIC_RUN_ID"}))
def test_a_missing_variable_of_a_launcher(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        from_env({key: value for key, value in TORCHRUN.items() if key != name})
    assert from_env(os.environ).size == 1
