"""Labels that processes cut are those that threads cut."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.stages.tiny_pipeline import Tiny, call

pytestmark = [pytest.mark.xdist_group("tiny"), pytest.mark.slow]


def test_the_same_artefact(tiny: Tiny, tmp_path: Path) -> None:
    """Under the policy `fill`, so that coarse labels travel too."""
    for step in ("manifest", "teacher", "infer"):
        shutil.copytree(tiny.work / "artefacts" / step, tmp_path / "artefacts" / step)
    result = call("label", tiny.file, "--work", tmp_path, "-q", "--set", "runtime.backend='loky'")
    assert result.exit_code == 0, result.output
    (made,) = (path for path in (tmp_path / "artefacts" / "label").iterdir() if (path / "COMMIT").is_file())
    assert (made / "manifest.json").read_bytes() == (tiny.data("label").parent / "manifest.json").read_bytes()
