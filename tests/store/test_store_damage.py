"""`find_problems` and `verify --full` name every file that is damaged, not just the first one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from autolabel.cli.main import cli
from autolabel.store import Artefact, find_problems, open_draft
from tests.helpers.experiments import experiment_toml

FILES = {"a.png": b"aaaa", "b.png": b"bbbb", "deep/c.png": b"cccc", "d.png": b"dddd"}


def make(folder: Path, key: str = "a") -> Artefact:
    draft = open_draft(folder, key * 64)
    for name, data in FILES.items():
        draft.write(name, data)
    return draft.commit(meta={}, provenance={})


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def names(problems: list[str]) -> set[str]:
    return {problem.split(":")[0] for problem in problems}


def test_every_damaged_file_is_named(tmp_path: Path) -> None:
    artefact = make(tmp_path)
    assert find_problems(artefact.path, full=True) == []
    flip(artefact.data / "a.png")
    flip(artefact.data / "deep" / "c.png")
    flip(artefact.path / "provenance.json")
    (artefact.data / "b.png").unlink()
    (artefact.data / "more").write_bytes(b"")
    (artefact.data / "link").symlink_to("a.png")
    (artefact.data / "d.png").write_bytes(b"d")
    damaged = {"data/a.png", "data/b.png", "data/deep/c.png", "data/more", "data/link", "data/d.png", "provenance.json"}
    assert names(find_problems(artefact.path, full=True)) == damaged
    assert names(find_problems(artefact.path)) == {"data/b.png", "data/more", "data/link", "data/d.png"}


@pytest.mark.parametrize("records", [("COMMIT",), ("manifest.json",), ("COMMIT", "manifest.json")])
@pytest.mark.parametrize("gone", [False, True])
def test_damaged_records_do_not_hide_damaged_files(tmp_path: Path, records: tuple[str, ...], gone: bool) -> None:
    artefact = make(tmp_path)
    flip(artefact.data / "a.png")
    flip(artefact.data / "d.png")
    for record in records:
        (artefact.path / record).unlink() if gone else flip(artefact.path / record)
    damaged = names(find_problems(artefact.path, full=True))
    assert set(records) <= damaged or (records == ("COMMIT", "manifest.json") and "COMMIT" in damaged)
    if records == ("COMMIT",):
        assert {"data/a.png", "data/d.png"} <= damaged


def test_a_link_in_place_of_an_artefact_is_one_problem(tmp_path: Path) -> None:
    artefact = make(tmp_path / "real")
    (tmp_path / "link").symlink_to(artefact.path)
    (problem,) = find_problems(tmp_path / "link", full=True)
    assert "symbolic link" in problem


def test_the_command_names_them_all(tmp_path: Path) -> None:
    experiment = tmp_path / "x.toml"
    experiment.write_text(experiment_toml())
    work = tmp_path / "w"
    first, second = make(work / "artefacts" / "one"), make(work / "artefacts" / "two", "b")
    flip(first.data / "a.png")
    flip(first.data / "b.png")
    flip(second.path / "COMMIT")
    flip(second.data / "d.png")
    flip(second.path / "provenance.json")  # without COMMIT nothing says what it was
    call = ["verify", str(experiment), "--work", str(work), "--full"]
    shown = CliRunner().invoke(cli, call)
    assert shown.exit_code == 1
    wanted = [first.data / "a.png", first.data / "b.png", second.path / "COMMIT", second.data / "d.png"]
    for file in wanted:
        assert str(file).replace("/data/", ": data/").replace("/COMMIT", ": COMMIT") in shown.stdout
    assert "2 artefact(s) checked, 4 problem(s)" in shown.stdout
    report = json.loads(CliRunner().invoke(cli, [*call, "--json"]).stdout)
    assert len(report["problems"]) == len(report["damaged"]) == 4
    assert {row["artefact"] for row in report["damaged"]} == {str(first.path), str(second.path)}
