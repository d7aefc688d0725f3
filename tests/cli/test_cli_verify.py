"""`verify --set-aside`: what no step would notice is renamed, not deleted, so that the next run makes it again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autolabel.cli.main import cli
from autolabel.store import Artefact, ensure_mark, hold_lock, open_draft, scan
from autolabel.store.hooks import Effect, observe
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
    assert "or set it aside with --set-aside" in found.stderr
    assert [at.kind for at in scan(work / "artefacts")] == ["committed", "committed"]
    result = verify(work, "--full", "--set-aside")
    assert (result.exit_code, result.stdout) == (1, found.stdout)
    aside, kept = scan(work / "artefacts")
    assert (aside.node, aside.kind, (aside.path / "data" / "file").read_bytes()) == ("label", "corrupt", b"gooe")
    assert (kept.node, Artefact.open(kept.path).verify(full=True)) == ("report", [])
    assert verify(work, "--full", "--set-aside").exit_code == 0


def test_a_sample_hashes_some_files_and_another_one_others(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(experiment_toml())
    work = tmp_path / "work"
    draft = open_draft(work / "artefacts" / "label", KEY)
    draft.write_many((f"{i:03}.png", b"good") for i in range(20))
    path = draft.commit(meta={}, provenance={}).path
    assert "(10 of their files read), 0 problem(s)" in verify(work, "--sample", "50%").stdout
    assert "(1 of their files read)" in verify(work, "--sample", "0.001").stdout
    for i in range(20):
        (path / "data" / f"{i:03}.png").write_bytes(b"gooe")
    found = [verify(work, "--sample", "50%") for _ in range(4)]
    named = [frozenset(line.split("data/")[1][:3] for line in each.stdout.splitlines()[:-1]) for each in found]
    assert all(each.exit_code == 1 for each in found)
    assert [len(names) for names in named] == [10] * 4
    assert len(set(named)) > 1, "another sample each time"
    assert verify(work, "--sample", "100%").stdout.count("its bytes differ") == 20
    for wrong in ("0", "101%", "x", "-5%", "1e1", "5 %"):
        assert verify(work, "--sample", wrong).exit_code == 2, wrong
    assert verify(work, "--sample", "5%", "--full").exit_code == 2


def test_not_while_a_run_is_at_work(work: Path) -> None:
    with hold_lock(work / "lock"):
        assert verify(work, "--full", "--set-aside").exit_code == 75
        assert verify(work, "--full").exit_code == 1
    assert [at.kind for at in scan(work / "artefacts")] == ["committed", "committed"]


def test_an_unreadable_file_hides_no_damage_and_is_not_put_aside(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions are no damage. A test may run as root, who may read everything: the system's answer is replaced."""
    real = os.open

    def refusing(path: object, *args: int, **options: int) -> int:
        if "/report/" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("autolabel.store.files.os.open", refusing)
        found = verify(work, "--full", "--set-aside")
    assert found.exit_code == 1
    assert "label/0123456789abcdef: data/file: its bytes differ" in found.stdout
    assert "Permission denied" in found.stdout
    assert [(at.node, at.kind) for at in scan(work / "artefacts")] == [("label", "corrupt"), ("report", "committed")]


def test_gc_and_status_of_a_folder_that_is_read_only(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They change nothing, not even a lock file."""

    def refuse(phase: str, effect: Effect) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(effect.path))

    with observe(refuse):
        for command in (["gc", "--dry-run"], ["status"], ["verify"]):
            arguments = [command[0], str(work.parent / "x.toml"), "--work", str(work), *command[1:]]
            assert CliRunner().invoke(cli, arguments).exit_code == 0, command


def test_gc_deletes_in_marked_folders_only(work: Path) -> None:
    arguments = ["gc", str(work.parent / "x.toml"), "--work", str(work)]
    refused = CliRunner().invoke(cli, arguments)
    assert (refused.exit_code, "not marked as a work folder" in refused.stderr) == (2, True)
    ensure_mark(work)
    assert CliRunner().invoke(cli, arguments).exit_code == 0
