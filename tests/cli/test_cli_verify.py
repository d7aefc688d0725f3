"""`verify --set-aside`: what no step would notice is renamed, not deleted, so that the next run makes it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autolabel.cli.main import cli
from autolabel.store import Artefact, hold_lock, open_draft, scan
from tests.helpers.experiments import experiment_toml

KEY = "0123456789abcdef" * 4


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Two artefacts, a bit of the first of which has flipped."""
    (tmp_path / "x.toml").write_text(experiment_toml())
    for step in ("label", "report"):
        draft = open_draft(tmp_path / "work" / "artefacts" / step, KEY)
        draft.write("file", b"good")
        draft.commit(meta={}, provenance={})
    (tmp_path / "work" / "artefacts" / "label" / KEY[:16] / "data" / "file").write_bytes(b"gooe")
    return tmp_path / "work"


def verify(work: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["verify", str(work.parent / "x.toml"), "--work", str(work), *options])


def test_what_is_damaged_is_put_aside(work: Path) -> None:
    found = verify(work, "--full")
    assert (found.exit_code, found.stdout.count("data/file")) == (1, 1)
    assert "set it aside with --set-aside" in found.stderr
    assert [at.kind for at in scan(work / "artefacts")] == ["committed", "committed"]
    result = verify(work, "--full", "--set-aside")
    assert (result.exit_code, result.stdout) == (1, found.stdout)
    aside, kept = scan(work / "artefacts")
    assert (aside.node, aside.kind, (aside.path / "data" / "file").read_bytes()) == ("label", "corrupt", b"gooe")
    assert (kept.node, Artefact.open(kept.path).verify(full=True)) == ("report", [])
    assert verify(work, "--full", "--set-aside").exit_code == 0


def test_not_while_a_run_is_at_work(work: Path) -> None:
    with hold_lock(work / "lock"):
        assert verify(work, "--full", "--set-aside").exit_code == 75
        assert verify(work, "--full").exit_code == 1
    assert [at.kind for at in scan(work / "artefacts")] == ["committed", "committed"]
