"""Names of files in lists of thousands."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from autolabel.data.sources.listing import suffix_of

NAMES = ("a.png", "d.e/a", "d.e/a.b.PNG", ".hidden", "d/.hidden.png", "a.", "a..", "..x", "d/..x", "é.jpg", "a. b", "x")


@pytest.mark.parametrize("path", NAMES)
def test_suffixes_are_those_of_pathlib(path: str) -> None:
    assert suffix_of(path) == PurePosixPath(path).suffix
