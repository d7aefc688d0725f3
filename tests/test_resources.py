"""Files that ship with the program are found, in the repository and in an installed package alike."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import autolabel
from autolabel import resources


def test_a_file_of_the_repository() -> None:
    assert b"troisdorf_000000_000073" in resources.resource("data_manifest", "known_bad.toml")
    assert "known_bad.toml" in resources.names("data_manifest")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        resources.names("nowhere")
    with pytest.raises(FileNotFoundError):
        resources.resource("data_manifest", "nothing.toml")


def test_the_package_comes_before_the_folder_beside_it(tmp_path: Path) -> None:
    """As in site-packages: resources inside the package, and a stranger's folder of the same name beside it."""
    package = tmp_path / "autolabel"
    for folder in (package, package / "configs", tmp_path / "configs"):
        folder.mkdir()
    for name in ("__init__.py", "resources.py"):
        shutil.copy(Path(autolabel.__file__).parent / name, package / name)
    (package / "configs" / "a.toml").write_text("ours")
    (tmp_path / "configs" / "a.toml").write_text("another's")
    code = "from autolabel.resources import *; print(resource('configs', 'a.toml').decode(), names('configs'))"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == "ours ['a.toml']\n"
