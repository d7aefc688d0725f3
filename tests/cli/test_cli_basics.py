"""The command line without any work: help, speed of imports, experiments that are wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from autolabel.cli.commands import ADDED_TO, MODULES
from autolabel.cli.commands import command as command_of
from autolabel.cli.main import cli
from autolabel.resources import names, resource
from tests.helpers.experiments import experiment_toml
from tests.helpers.paths import ROOT


def call(*args: object) -> Result:
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def one_line(result: Result, code: int) -> str:
    """The error as a user sees it: one line on stderr, nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    return result.stderr


GOOD = experiment_toml()


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    file = tmp_path / "x.toml"
    file.write_text(GOOD)
    return file


ALL = sorted(name for commands in MODULES.values() for name in commands)


@pytest.mark.parametrize("command", [[], *[[name] for name in ALL]])
def test_every_command_has_help(command: list[str]) -> None:
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 3
    called = command_of(command[0]) if command else None
    for parameter in called.params if called else ():
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


@pytest.mark.slow
def test_status_of_nothing_makes_nothing(experiment: Path, tmp_path: Path) -> None:
    result = call("status", experiment, "--work", tmp_path / "w", "--json")
    assert '"state": "missing"' in result.stdout
    for command in (["gc"], ["gc", "--dry-run"], ["verify"], ["run", "--dry-run"]):
        assert call(*command, experiment, "--work", tmp_path / "w").exit_code == 0
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "[teacher]\nmomentun = 1.0\n", "unknown key 'teacher.momentun'; did you mean 'momentum'?"),
        (GOOD + "[teacher.model]\ntrunck = 'x'\n", "unknown key 'teacher.model.trunck'; did you mean 'trunk'?"),
        (GOOD + "seeed = 2\n", "unknown key 'data.seeed'; did you mean 'seed'?"),
        (GOOD + "[teacher]\nlr = '1e-3'\n", "teacher.lr = '1e-3': input should be a valid number"),
        (GOOD + "[teacher]\nepochs = 1.5\n", "teacher.epochs = 1.5"),
        (GOOD + "[teacher]\nepochs = -1\n", "teacher.epochs = -1"),
        (GOOD + "[label]\nthreshold = nan\n", "label.threshold"),
        (GOOD + "[infer]\nscales = [0.5, 2.0]\n", "hold 1.0"),
        (GOOD + "[infer]\nscales = [1.0, 1e-9]\n", "greater than or equal to 0.05"),
        ('name = "x"\n', "'data' is missing"),
        (experiment_toml(name=None, nmae="x"), "unknown key 'nmae' (and 1 more); did you mean 'name'?"),
        ('name = "x"\n[data]\nroot = "."\n', "'data.source' is missing"),
        (experiment_toml(data={"source": "cityscape"}), "unknown source 'cityscape'; one of 'synthetic', 'camvid'"),
        (experiment_toml(name="../x"), "name = '../x'"),
        ('pipeline = "teacher"\n' + GOOD, "is not known; one of: ablation, fusions, teacher_student"),
        ("name = \n", "is not valid TOML"),
        ("\x00", "is not valid TOML"),
        ("seed = 1" + "0" * 5000, "is not valid TOML"),
        ("a = " + "[" * 5000, "is not valid TOML"),
        ("seed = 9223372036854775808\n" + GOOD, "seed = 9223372036854775808"),
        (experiment_toml(data={"source": "camvid", "root": "a\0b"}), "data.root: 'a\\x00b' is no path"),
        (experiment_toml(data={"source": "camvid", "root": "loop"}), "data.root: 'loop' is no path: Symlink loop"),
        (GOOD + "[runtime]\ndevice = 'gpu'\n", "runtime.device = 'gpu'"),
    ],
)
def test_a_wrong_experiment_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    (tmp_path / "loop").symlink_to("loop")
    assert says in one_line(call("run", file, "--work", tmp_path / "w"), 2)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"a" * 1_000_001])
def test_a_file_that_is_no_experiment(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(content)
    assert str(file) in one_line(call("status", file), 2)
    assert "cannot be read: Is a directory" in one_line(call("status", tmp_path), 2)
    assert "cannot be read: No such file" in one_line(call("status", tmp_path / "absent.toml"), 2)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("teacher.epoch=3", "did you mean 'epochs'?"),
        ("teacher.epochs", "is not of the form key=value"),
        ("teacher.epochs=many", "teacher.epochs = 'many'"),
        ("name.x=1", "'name' is a value, not a table"),
        ("=3", "is not of the form key=value"),
        ("seed=1" + "0" * 5000, "seed = '1000"),
        ("seed=" + "[" * 5000, "seed = '[[["),
        ("seed=1\nname='y'", "seed = \"1\\nname='y'\""),
        ("name=\udcff", "is not UTF-8 text"),
        ("name=a\0b", "an argument holds a NUL character"),
        ('teacher.weights="a\\u0000b"', "teacher.weights: 'a\\x00b' is no path"),
    ],
)
def test_a_wrong_override_is_one_line(experiment: Path, override: str, says: str) -> None:
    assert says in one_line(call("status", experiment, "--set", override), 2)


def test_overrides_are_toml(experiment: Path, tmp_path: Path) -> None:
    options = ["--work", tmp_path / "w", "--set", "teacher.crop=[8, 8]", "--set", "runtime.device=cpu"]
    assert call("status", experiment, *options).exit_code == 0


def test_missing_data_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(experiment_toml(data={"source": "camvid", "root": "absent"}))
    assert str(tmp_path / "absent") in one_line(call("run", file, "--work", tmp_path / "w", "-q"), 3)
    no_name = ["--set", 'data.fine="a\\u0000b"']
    assert "null byte" in one_line(call("run", file, "--work", tmp_path / "w", "-q", *no_name), 3)
    shown = call("status", file, "--work", tmp_path / "w", "--why")
    assert shown.exit_code == 0
    assert "absent" in shown.stdout


def test_a_work_folder_that_is_a_file(experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "w").write_text("")
    assert "is not a folder" in one_line(call("run", experiment, "--work", tmp_path / "w"), 2)


def test_until_names_a_step(experiment: Path, tmp_path: Path) -> None:
    assert "'inferr': is not in this pipeline" in one_line(
        call("run", experiment, "--work", tmp_path / "w", "--until", "inferr", "-q"), 2
    )


def test_one_stage_alone_says_what_to_run_first(experiment: Path, tmp_path: Path) -> None:
    said = one_line(call("label", experiment, "--work", tmp_path / "w", "-q"), 2)
    assert "run `autolabel run EXPERIMENT --until" in said


@pytest.mark.parametrize("name", [n for n in names("configs") if n.endswith(".toml")])
def test_every_shipped_experiment_is_valid(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(resource("configs", name))
    assert call("status", file, "--work", tmp_path / "w").exit_code == 0


def test_an_experiment_below_a_folder_that_is_no_text(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    (folder / "x.toml").write_text(experiment_toml(data={"source": "camvid", "root": "y"}))
    assert "is not UTF-8; rename the folder" in one_line(call("status", folder / "x.toml"), 2)


@pytest.mark.parametrize(
    "argument",
    [["predict", "--teacher", "x", "y"], ["cut"], ["nonsense"], ["run", "--bogus"], ["demo", "--device", "gpu"]],
)
def test_usage_errors_are_code_2(argument: list[str]) -> None:
    assert call(*argument).exit_code == 2


def test_foreign_files_are_refused_in_one_line(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"no picture")
    out = tmp_path / "out"
    assert "not a safetensors file" in one_line(call("predict", "--teacher", image, image, "--out", out, "-q"), 3)
    assert "cannot be read" in one_line(call("predict", "--teacher", tmp_path / "no", image, "--out", out, "-q"), 3)
    one_line(call("cut", image, "--out", out, "-q"), 3)
    one_line(call("cut", tmp_path, "--out", out, "-q"), 3)
    assert not out.exists()


def test_doctor_looks_without_leaving_anything(tmp_path: Path) -> None:
    result = call("doctor", "--work", tmp_path / "w", "--json")
    assert result.exit_code in (0, 2), "a machine may fail a check"
    assert {"python", "torch", "disk", "self-test"} <= {
        c["name"] for c in __import__("json").loads(result.stdout)["checks"]
    }
    assert list(tmp_path.iterdir()) == []


def test_the_table_of_commands_is_that_of_the_modules() -> None:
    for module, commands in MODULES.items():
        assert commands == tuple(one.name for one in import_module(f"autolabel.cli.{module}").COMMANDS)
    files = {file.stem for file in (ROOT / "autolabel" / "cli").glob("*.py") if "\nCOMMANDS" in file.read_text()}
    assert files == {*MODULES, *ADDED_TO.values()}


def test_a_command_imports_no_other() -> None:
    script = "import sys\nfrom autolabel.cli.commands import command\ncommand('status')\n"
    script += "print(*(m for m in sys.modules if m.startswith('autolabel.cli.')))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "autolabel.cli.status" in loaded
    assert not {"autolabel.cli.predict", "autolabel.cli.review", "autolabel.cli.cut"} & set(loaded.split())
