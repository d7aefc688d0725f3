"""Imports point one way (ARCHITECTURE.md); read from the source, not from what happens to be imported."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "autolabel"
# Higher layers may import lower ones; parts on the same line may import one another only where listed below.
LAYERS = [
    {"__main__", "__init__"},
    {"api"},
    {"cli"},
    {"recommend"},
    {"flow", "stages"},
    {"review"},
    {"training", "inference", "report", "model_export", "formats"},
    {"artifacts"},
    {"audit"},
    {"data", "hub", "models", "labels", "losses", "evaluation"},
    {"distributed", "parallel"},
    {"store", "config"},
    {"classes", "user_files", "hardware", "markdown", "offline", "progress", "resources", "signals"},
    {"errors", "suggest", "distribution", "platforms", "toml_text"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
SIDEWAYS = {
    ("stages", "flow"),  # a stage declares itself with flow's types; flow knows no stage
    ("losses", "models"),  # the loss of what a network returns
    ("data", "labels"),  # synthetic labels are written by the label codec
    ("evaluation", "labels"),  # so are prediction files
}
TORCH_FREE = ("__init__", "api", "cli", "flow", "stages", "store", "labels", "classes")


def imports(file: Path, *, top_level_only: bool) -> set[str]:
    tree = ast.parse(file.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


def part_of(file: Path) -> str:
    relative = file.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_part_has_a_layer() -> None:
    assert {part_of(file) for file in FILES} <= set(LEVEL)


@pytest.mark.parametrize("part", sorted(LEVEL))
def test_imports_point_down(part: str) -> None:
    wrong = []
    for file in (f for f in FILES if part_of(f) == part):
        for module in imports(file, top_level_only=False):
            target = module.split(".")[1] if module.startswith("autolabel.") else None
            if target in LEVEL and target != part and (part, target) not in SIDEWAYS and LEVEL[target] <= LEVEL[part]:
                wrong.append(f"{file.relative_to(PACKAGE)} imports {module}")
    assert not wrong


@pytest.mark.parametrize("part", TORCH_FREE)
def test_torch_is_not_imported_at_the_top(part: str) -> None:
    heavy = {"torch", "autolabel.training", "autolabel.inference", "autolabel.models", "autolabel.losses"}
    for file in (f for f in FILES if part_of(f) == part):
        for module in imports(file, top_level_only=True):
            assert not any(module == name or module.startswith(f"{name}.") for name in heavy), (file, module)
