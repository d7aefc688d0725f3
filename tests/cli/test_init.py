"""`init` on a small folder: the file it writes is the one that runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from autolabel.cli.main import cli
from autolabel.config.load import load_experiment


def call(*args: object) -> Result:
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / 'my "data" \\ folder'
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(root / "images" / f"{i}.png")
    for i in range(4):
        Image.fromarray(rng.integers(0, 2, (20, 30), dtype=np.uint8)).save(root / "masks" / f"{i}.png")
    (root / "classes.toml").write_text('names = ["road", "car"]\n')
    return root


def test_the_file_written_is_valid_and_says_where_the_data_lies(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    result = call("init", "--source", "folder", "--root", data, "--out", file)
    assert result.exit_code == 0, result.output
    assert "3 training images with fine labels, 2 training images with no label, 1 validation images" in result.stdout
    experiment = load_experiment(file)
    assert experiment.data.root == data.resolve()
    assert experiment.name == "my-data-folder"
    again = call("init", "--source", "folder", "--root", data, "--out", file)
    assert (again.exit_code, "exists already" in again.stderr) == (2, True)


def test_names_that_toml_has_to_escape(data: Path, tmp_path: Path) -> None:
    root = data.rename(tmp_path / 'a\x7f\n"b"\U0001f600')
    file = tmp_path / "e.toml"
    assert call("init", "--source", "folder", "--root", root, "--out", file).exit_code == 0
    assert load_experiment(file).data.root == root.resolve()
    root = root.rename(tmp_path / os.fsdecode(b"\xff"))
    result = call("init", "--source", "folder", "--root", root, "--out", tmp_path / "f.toml")
    assert (result.exit_code, "is UTF-8" in result.stderr) == (2, True)


def test_wrong_data_is_found_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    (data / "classes.toml").unlink()
    file = tmp_path / "e.toml"
    result = call("init", "--source", "folder", "--root", data, "--out", file)
    assert result.exit_code in (2, 3)
    assert "classes.toml" in result.stderr
    assert not file.exists()
    assert call("init", "--source", "folder", "--root", tmp_path / "absent", "--out", file).exit_code == 2


def asked(data: Path, tmp_path: Path, answers: str, *options: object) -> Result:
    command = ("init", "--interactive", "--weights", "random", "--out", tmp_path / "e.toml", *options)
    return CliRunner().invoke(cli, [str(part) for part in command], input=answers)


def test_interactive_asks_for_what_no_option_says(data: Path, tmp_path: Path) -> None:
    """Questions go to stderr; the answers give the file that options give."""
    result = asked(data, tmp_path, f"folder\n{data}\nmine\n0\n")
    assert result.exit_code == 0, result.output
    questions = ("How is the data laid out?", "Where does it lie?", "Name of the experiment", "Minutes a run may take")
    assert [question in result.stderr for question in questions] == [True] * 4
    assert not any(question in result.stdout for question in questions)
    written = (tmp_path / "e.toml").read_text()
    assert load_experiment(tmp_path / "e.toml").name == "mine"
    file = tmp_path / "f.toml"
    options = ("--source", "folder", "--root", data, "--name", "mine", "--weights", "random")
    assert call("init", *options, "--out", file).exit_code == 0
    assert file.read_text() == written


def test_interactive_does_not_ask_for_options(data: Path, tmp_path: Path) -> None:
    """An empty answer takes the default; a wrong one is asked again; no answer ends the command without a file."""
    result = asked(data, tmp_path, "\n-1\n0\n", "--source", "folder", "--root", data)
    assert result.exit_code == 0, result.output
    assert ("How is the data" in result.stderr, "Where does" in result.stderr) == (False, False)
    assert result.stderr.count("Minutes a run may take") == 2
    assert load_experiment(tmp_path / "e.toml").name == "my-data-folder"
    (tmp_path / "e.toml").unlink()
    assert asked(data, tmp_path, "folder\n").exit_code != 0
    assert not (tmp_path / "e.toml").exists()
