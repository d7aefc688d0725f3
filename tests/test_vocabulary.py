"""The words that CONTRIBUTING.md rules out stay out of names, docstrings and comments."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "autolabel",
    "streetscenes",
    "pipelines",
    "benchmarks",
    "tests",
    "tests_timm",
    "tests_formats",
    "tests_review",
    "tests_mutants",
)
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
WORDS = {"given", "taps", "holders", "lacking", "begun", "picture", "pictures"}  # not part of any identifier
OPENINGS = ("Of ", "What ", "Whatever ")  # no docstring or comment begins so: it lacks a subject and a verb


def words_of(identifier: str) -> set[str]:
    """The words of a name: "takenPictures_of" -> taken, pictures, of."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and first words of each docstring, and of each paragraph in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
                yield getattr(node, "lineno", 1), paragraph


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_names_and_openings(file: Path) -> None:
    source = file.read_text()
    foreign = {"given"} if "from hypothesis import" in source else set()  # the name of its decorator
    texts = docstrings(ast.parse(source))
    wrong = [f"{line}: begins {text[:40]!r}" for line, text in texts if text.startswith(OPENINGS)]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if token.type == tokenize.NAME and token.string not in foreign and words_of(token.string) & WORDS:
            wrong.append(f"{line}: the name {token.string}")
        elif token.type == tokenize.COMMENT and token.string.lstrip("# ").startswith(OPENINGS):
            wrong.append(f"{line}: begins {token.string[:40]!r}")
    assert not wrong


def test_the_words_are_found() -> None:
    assert words_of("takenPictures_of") == {"taken", "pictures", "of"}
    assert words_of("HTTPPicture") & WORDS
    assert not words_of("_depict2") & WORDS
    assert [text for _, text in docstrings(ast.parse('"""Of it."""\n'))] == ["Of it."]
