"""A fetch in a process of its own, killed with SIGKILL while a file arrives, and run again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.hub import Hub, environment
from tests.hub.test_fetch import ID, WEIGHTS, contents, files

pytestmark = pytest.mark.slow
STALL = 9 * 2**20  # after two blocks of 4 MiB
KEPT = 8 * 2**20  # at least


def start(hub: Hub, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "autolabel", "fetch", ID, "-q"],
        env={**os.environ, **environment(hub.url, cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(hub: Hub, cache: Path) -> None:
    process = start(hub, cache)
    _, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (0, "")


def test_a_killed_fetch_goes_on_and_ends_with_the_same_bytes(hub: Hub, cache: Path, tmp_path: Path) -> None:
    repository = hub.add(ID, files(), {"license": "mit"})
    run(hub, tmp_path / "undisturbed")
    repository.stall_at = STALL
    hub.requests.clear()
    process = start(hub, cache)
    assert hub.stalled.wait(120)
    partial = cache / "models--someone--weights" / "snapshots" / repository.branches["main"]
    partial /= "model.safetensors.incomplete"
    while not (partial.is_file() and partial.stat().st_size >= KEPT):
        assert process.poll() is None
    process.kill()
    process.communicate()
    kept = partial.stat().st_size
    assert partial.read_bytes() == WEIGHTS[:kept]
    assert "fetched.json" not in contents(cache), "nothing can use it yet"
    repository.stall_at = None
    hub.go.set()
    run(hub, cache)
    assert hub.ranges("model.safetensors") == ["bytes=0-", f"bytes={kept}-"]
    assert contents(cache) == contents(tmp_path / "undisturbed")


def test_two_fetches_of_one_id(hub: Hub, cache: Path) -> None:
    repository = hub.add(ID, files(), {"license": "mit"})
    repository.stall_at = STALL
    first = start(hub, cache)
    assert hub.stalled.wait(120)
    second = start(hub, cache)
    _, stderr = second.communicate(timeout=120)
    assert second.returncode == 75
    assert "another run holds this folder" in stderr
    repository.stall_at = None
    hub.go.set()
    _, stderr = first.communicate(timeout=120)
    assert (first.returncode, stderr) == (0, "")
