"""The package: one version, one distribution name in every install text, and a wheel and an sdist with all files."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import autolabel
from autolabel.distribution import DISTRIBUTION, install_command

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TEXTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "configs").glob("*.toml"),
    *(ROOT / "autolabel").rglob("*.py"),
    *(ROOT / "autolabel").rglob("*.j2"),
]


def test_one_version() -> None:
    assert "version" not in PROJECT, "it comes from autolabel/__init__.py"
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert citation is not None
    assert newest is not None
    assert citation[1] == newest[1] == autolabel.__version__


def test_one_name() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    assert PROJECT["scripts"] == {"autolabel": "autolabel.cli:main"}
    own = [line for line in PROJECT["optional-dependencies"]["dev"] if line.startswith("autolabel")]
    assert own == [line for line in own if line.startswith(f"{DISTRIBUTION}[")]


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_text_installs_the_package_of_a_stranger(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.findall(r"pip[x]? install[^\n]*['\" ]autolabel(?!-seg)[\[' \n]", text)
    extras = re.findall(rf"(?:{DISTRIBUTION}|-e '\.)\[([a-z,]+)\]", text) + re.findall(
        r'install_command\("(\w+)"\)', text
    )
    assert {extra for group in extras for extra in group.split(",")} <= set(PROJECT["optional-dependencies"])


def test_the_install_command() -> None:
    assert install_command("hf") == "pip install 'autolabel-seg[hf]'"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="the extra `dev` brings hatchling")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out), "-t", "wheel", "-t", "sdist"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_the_wheel_holds_all_that_runs(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"autolabel_seg-{autolabel.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("autolabel", "streetscenes"):
        files = (file for file in (ROOT / folder).rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        assert {file.relative_to(ROOT).as_posix() for file in files} <= names
    for folder in ("pipelines", "configs", "data_manifest"):
        files = (file for file in (ROOT / folder).rglob("*.*") if file.is_file() and "__pycache__" not in file.parts)
        assert {f"autolabel/{file.relative_to(ROOT).as_posix()}" for file in files} <= names
    assert "autolabel/py.typed" in names
    roots = {name.partition("/")[0] for name in names}
    assert roots == {"autolabel", "streetscenes", f"autolabel_seg-{autolabel.__version__}.dist-info"}


def test_the_sdist_is_the_source_and_nothing_else(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "configs/demo.toml"} <= set(names)
    assert "autolabel/py.typed" in names
    assert not [name for name in names if name.startswith((".", "work/", "tests/")) and name != ".gitignore"]


def test_the_workflows_run_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    (targets,) = re.findall(r"target: \[(.*)\]", workflow)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets.split(", "))
    publish = (ROOT / ".github" / "workflows" / "publish.yml").read_text()
    (script,) = re.findall(r"python (tests_wheel/\S+)", publish)
    assert (ROOT / script).is_file()
    assert "id-token: write" in publish, "trusted publishing: no token is stored"
