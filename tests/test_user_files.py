"""Text from strangers: parsed in bounded time, with bounded memory."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import DataError
from autolabel.toml_text import parse_toml
from autolabel.user_files import read_text

N = 500_000
HOSTILE = {
    "a dotted key": "a." * N + "a = 1",
    "with blanks": "a . " * N + "a = 1",
    "with quotes": '"a".' * N + "a = 1",
    "with literal quotes": "'a'." * N + "a = 1",
    "a table's name": "[" + "a." * N + "a]",
    "in an inline table": "x = {" + "a." * N + "a = 1}",
    "many lines": ("a." * 500 + "a = 1\n") * 1000,
    "after a string": 'x = "#"\n' + "a." * N + "a = 1",
    "nested arrays": "x = " + "[" * N,
    "nested tables": "x = " + "{a = " * N,
    "blanks": "a" + " " * N + "\n" + "a " * N,
    "quotes": 'x = "' + '\\"' * N,
    "quotes that end": '"' * N,
}

PARSE = """
import resource, sys
from pathlib import Path
from autolabel.classes import parse_class_file
from autolabel.errors import ConfigError
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
try:
    parse_class_file(Path(sys.argv[1]).read_text(), "classes.toml")
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_toml_is_refused_in_time(name: str, tmp_path: Path) -> None:
    """A process of its own, which the system ends after so much processor time. Quadratic time would be minutes."""
    file = tmp_path / "classes.toml"
    file.write_text(HOSTILE[name])
    done = subprocess.run([sys.executable, "-c", PARSE, file], capture_output=True, text=True, check=False)
    assert "not valid TOML" in done.stdout, done


TEXTS = [
    'names = ["a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t", "#"]  # a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t',
    "a.b.c.d = 1\n[x.y.'z.z.z.z.z.z.z.z.z.z.z.z.z.z.z.z.z.z']\nv = [" + "0.5, " * 100 + "]",
    't = """\nLine one.\nIt\'s a \\"quote\\". Then... more.\n"""\nd = 2026-01-01T00:00:00.000Z',
]


@pytest.mark.parametrize("text", TEXTS)
def test_valid_toml_means_what_it_says(text: str) -> None:
    assert parse_toml(text) == tomllib.loads(text)


@given(st.text(alphabet="a.= \"'#[]{}\\\n1", max_size=60))
def test_any_short_text_is_parsed_as_by_tomllib(text: str) -> None:
    try:
        expected: object = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        expected = ValueError
    try:
        found: object = parse_toml(text)
    except ValueError:
        found = ValueError
    assert found == expected or text.count(".") >= 16


def test_a_text_is_read_up_to_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(b"x" * 11)
    assert read_text(file, DataError, at_most=11) == "x" * 11
    with pytest.raises(DataError, match="larger than 10 bytes"):
        read_text(file, DataError, at_most=10)
