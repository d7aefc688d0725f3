"""`repair`: restored where a copy has the committed bytes, set aside where none has, and nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autolabel.cli.main import cli
from autolabel.store import Artefact, ensure_mark, open_draft, scan
from tests.helpers.experiments import experiment_toml

KEY, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
FILES = {"shared.png": b"the same in both", "own.png": b"only here"}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "x.toml").write_text(experiment_toml())
    for step, key, files in (("label", KEY, FILES), ("student", OTHER, {"copy/of.png": FILES["shared.png"]})):
        draft = open_draft(tmp_path / "work" / "artefacts" / step, key)
        draft.write_many(files.items())
        draft.commit(meta={}, provenance={"started": 1})
    ensure_mark(tmp_path / "work")
    return tmp_path / "work"


def repair(work: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["repair", str(work.parent / "x.toml"), "--work", str(work), *options])


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def to_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/hostname")


DAMAGE: dict[str, Callable[[Path], None]] = {
    "other bytes": lambda file: file.write_bytes(b"x" * file.stat().st_size) and None,
    "cut short": cut_short,
    "missing": Path.unlink,
    "a link": to_link,
}


def state(work: Path) -> dict[str, bytes]:
    found = {path for path in work.rglob("*") if path.is_file() and path.name != "lock"}
    return {path.relative_to(work).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_with_a_copy_is_restored(work: Path, kind: str) -> None:
    before = state(work)
    path = work / "artefacts" / "label" / KEY[:16]
    DAMAGE[kind](path / "data" / "shared.png")
    result = repair(work, "--json")
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)["artefacts"]
    assert (row["restored"], row["set_aside"]) == (["data/shared.png"], None)
    assert Artefact.open(path).verify(full=True) == []
    assert state(work) == before, "and nothing else has changed"
    assert json.loads(repair(work, "--json").stdout)["artefacts"] == []


@pytest.mark.parametrize("name", ["data/own.png", "COMMIT", "manifest.json", "provenance.json", "data/extra.png"])
def test_what_has_no_copy_is_set_aside_whole(work: Path, name: str) -> None:
    before = state(work)
    path = work / "artefacts" / "label" / KEY[:16]
    (path / name).write_bytes(b"x")
    result = repair(work)
    assert result.exit_code == 0
    assert "set aside as 0123456789abcdef.corrupt-1" in result.stdout
    assert "1 damaged artefact(s), 1 set aside" in result.stdout
    assert "`autolabel run` makes manifest" in result.stdout
    kinds = {(item.node, item.kind) for item in scan(work / "artefacts")}
    assert kinds == {("label", "corrupt"), ("student", "committed")}
    after = {key.replace(".corrupt-1", ""): data for key, data in state(work).items()}
    assert {key for key in before if before[key] != after.get(key)} <= {f"artefacts/label/{KEY[:16]}/{name}"}


def test_a_copy_in_an_artefact_set_aside_counts_and_a_damaged_copy_does_not(work: Path) -> None:
    label, student = (work / "artefacts" / step / key[:16] for step, key in (("label", KEY), ("student", OTHER)))
    (student / "data" / "copy" / "of.png").write_bytes(b"damaged as well!")
    (label / "data" / "shared.png").unlink()
    assert "2 damaged artefact(s), 2 set aside" in repair(work).stdout
    draft = open_draft(work / "artefacts" / "label", KEY)
    draft.write_many(FILES.items())
    draft.commit(meta={}, provenance={})
    (label / "data" / "own.png").write_bytes(b"x")
    assert "label/0123456789abcdef: data/own.png: restored" in repair(work).stdout, "from label/….corrupt-1"


def test_a_folder_of_someone_else_is_refused(work: Path) -> None:
    (work / "autolabel-work.json").unlink()
    (work / "artefacts" / "label" / KEY[:16] / "data" / "own.png").unlink()
    before = state(work)
    assert repair(work).exit_code == 2
    assert state(work) == before
