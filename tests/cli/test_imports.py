"""The libraries that small commands leave alone: imports that nothing uses are most of the time they take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autolabel.resources import resource
from tests.cli.predict_call import tiny_weights, write_image
from tests.helpers.paths import ROOT

COMPUTE = {"torch", "transformers", "timm", "scipy", "h5py", "pyarrow", "jinja2", "joblib", "safetensors"}
ARRAYS = {"numpy", "PIL", "tqdm"}
# The compiler of torch, and libraries that only other commands need.
NOT_FOR_PREDICT = {"torch._dynamo", "torch._inductor", "sympy", "h5py", "pyarrow", "jinja2", "joblib", "hypothesis"}

# Runs one command in this process and prints the modules that it leaves behind.
SCRIPT = """
import sys
from click.testing import CliRunner
from autolabel.cli.main import cli
result = CliRunner().invoke(cli, sys.argv[1:])
assert result.exit_code == 0, result.output
print(*sys.modules)
"""


def imported(*args: object) -> set[str]:
    """The modules that a command imports, in a process of its own."""
    command = [sys.executable, "-c", SCRIPT, *map(str, args)]
    return set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.slow
def test_status_of_rendered_scenes_needs_no_arrays(tmp_path: Path) -> None:
    loaded = imported("status", ROOT / "configs" / "demo.toml", "--work", tmp_path / "w")
    assert "autolabel.cli.status" in loaded
    assert not loaded & (COMPUTE | ARRAYS)


@pytest.mark.slow
def test_status_of_a_folder_needs_no_arrays(tmp_path: Path) -> None:
    for kind in ("images", "fine"):
        write_image(tmp_path / kind / "train" / "a.png")
        write_image(tmp_path / kind / "val" / "b.png")
    (tmp_path / "classes.toml").write_text(
        '[[class]]\nname = "road"\nid = 0\n\n[[class]]\nname = "car"\nid = 1\ncolour = [0, 0, 142]\n'
    )
    experiment = tmp_path / "x.toml"
    experiment.write_text(resource("configs", "folder.toml").decode())
    loaded = imported("status", experiment, "--set", f"data.root={tmp_path}", "--work", tmp_path / "w")
    assert "autolabel.data.sources.folder" in loaded
    assert not loaded & (COMPUTE | ARRAYS)


@pytest.mark.slow
@pytest.mark.parametrize("command", [("--help",), ("run", "--help")])
def test_help_needs_nothing_that_computes(command: tuple[str, ...]) -> None:
    assert not imported(*command) & COMPUTE


@pytest.mark.slow
def test_predict_needs_no_compiler_and_no_files_of_other_commands(tmp_path: Path) -> None:
    image, out = write_image(tmp_path / "a.png"), tmp_path / "out"
    loaded = imported("predict", "--teacher", tiny_weights(tmp_path), "--scales", "1.0", "-q", image, "--out", out)
    assert (out / "labels" / "a.png").is_file()
    assert not loaded & NOT_FOR_PREDICT
    assert not [name for name in loaded if name.startswith(("autolabel.stages", "autolabel.audit"))]
