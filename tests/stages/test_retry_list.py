"""retry.txt is for tools that read a path a line: no name may pass for another file."""

from __future__ import annotations

from pathlib import Path

import pytest

from autolabel.artifacts import QUARANTINE_FILE, RETRY, QuarantinedImage, read_quarantine, write_quarantine
from autolabel.store import open_draft

KEY = "0123456789abcdef" * 4


@pytest.mark.parametrize("path", ["images/a\n../../b.png", "images/a\r/etc/passwd", "images/x\u2028y", "images/x\n"])
def test_a_path_of_several_lines_is_left_out(tmp_path: Path, path: str) -> None:
    draft = open_draft(tmp_path, KEY)
    write_quarantine(
        draft, [QuarantinedImage(id=name, path=name, reason="broken") for name in ("images/ä b.png", path)]
    )
    made = draft.commit(meta={}, provenance={})
    assert made.read(RETRY).decode() == "images/ä b.png\n"
    assert [row["path"] for row in read_quarantine(made)] == ["images/ä b.png", path]
    assert QUARANTINE_FILE.name in made.names()
