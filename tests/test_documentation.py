"""Pages that are made from the code are fresh, every setting has a text, and links lead somewhere."""

from __future__ import annotations

import json
import re
import runpy
import textwrap
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from autolabel.cli.main import cli
from autolabel.config.load import parse_experiment
from autolabel.config.reference import experiment_schema, field_texts, tables
from autolabel.labels.codebook import DEFAULT_EDGES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FIGURES: dict[str, Any] = runpy.run_path(str(DOCS / "figures" / "make.py"))
GENERATE: dict[str, Any] = runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.parametrize("name", sorted(GENERATE["PAGES"]))
def test_page_is_fresh(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page == GENERATE["PAGES"][name](), f"docs/{name} is stale: make reference"


def test_every_setting_has_a_text() -> None:
    schema = experiment_schema()
    definitions = {"Experiment": schema, **schema["$defs"]}
    for model in tables():
        properties = definitions[model.__name__]["properties"]
        assert set(properties) == set(model.model_fields)
        missing = [key for key, field in properties.items() if len(field.get("description", "")) < 5]
        assert not missing, f"{model.__name__}: a comment is missing behind or above {missing}"


def test_texts_are_the_comments_of_the_class() -> None:
    texts = {model.__name__: field_texts(model) for model in tables()}
    assert texts["InferConfig"]["flip"] == "The mirrored image is predicted too, and both predictions are averaged."
    assert texts["CamVidConfig"]["fine"] == "The list of training images with fine labels."  # not that of `root` above
    assert texts["FolderConfig"]["max_bad"].startswith("Up to this many unusable images")  # inherited, two lines
    assert texts["TeacherConfig"]["clip_grad"].startswith("Largest norm")  # behind the value of a wrapped line
    assert texts["TeacherConfig"]["model"] == texts["StudentConfig"]["model"]
    assert texts["TeacherConfig"]["model"].startswith("The network:")


def test_the_schema_command() -> None:
    result = CliRunner().invoke(cli, ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == experiment_schema()


def test_the_page_of_settings_names_all() -> None:
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    keys = {key for model in tables() for key in model.model_fields} - {"source"}
    top = {"data", "teacher", "infer", "label", "fuse", "student", "evaluate", "report", "runtime"}
    assert all(f"| `{key}` |" in page for key in keys - top)
    assert all(f"## [{name}]" in page for name in top)


PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [target.partition("#")[0] for target in targets if not target.startswith(("http://", "https://", "#"))]
    assert not [target for target in local if not (page.parent / target).exists()]


def test_readme_fits_three_screens_and_the_first_shows_what_it_does() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 130
    first = "\n".join(lines[:20])
    assert "autolabel init" in first
    assert "autolabel run" in first
    assert "![" in first


@pytest.mark.parametrize("name", sorted(FIGURES["FIGURES"]))
def test_a_figure_is_fresh(name: str) -> None:
    drawn = (DOCS / "figures" / name).read_text(encoding="utf-8")
    assert drawn == FIGURES["FIGURES"][name](), f"docs/figures/{name} is stale: python docs/figures/make.py"
    assert f"figures/{name}" in (DOCS / "concepts.md").read_text(encoding="utf-8")


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert not {page for page in pages if f": {page}\n" not in menu}


def toml_blocks() -> list[tuple[str, str]]:
    """(page, text) of each example in TOML that begins with a table, as an experiment's tables do."""
    found = []
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        for text in re.findall(r"^ *```toml\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
            block = textwrap.dedent(text)
            if block.startswith("["):
                found.append((f"{page.name}:{block.splitlines()[0]}", block))
    return found


def test_there_are_examples_of_experiments() -> None:
    assert len(toml_blocks()) >= 8


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in toml_blocks()])
def test_an_example_is_an_experiment(text: str) -> None:
    """All its settings are known, and each threshold is one that codes can be cut at."""
    whole = f'name = "a"\ndata = {{ source = "folder", root = "." }}\n{text}'
    label = parse_experiment(whole.encode(), where="example", base=ROOT).label
    thresholds = [label.threshold, *label.class_thresholds.values()]
    assert all(isinstance(value, str) or value in (0, *DEFAULT_EDGES) for value in thresholds)
