"""mlcroissant accepts croissant.json of every export, made by the command."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import mlcroissant
import pytest
from click.testing import CliRunner

from autolabel.cli.export_labels import WRITERS, export_labels
from tests.formats.label_sets import images_of, write_label_set


@pytest.mark.parametrize("name", WRITERS)
def test_metadata_is_valid(name: str, tmp_path: Path) -> None:
    labels = write_label_set(tmp_path / "set", ("road", "car"))
    images = images_of(labels, tmp_path / "images")
    out = tmp_path / "out"
    arguments = [labels, "--format", name, "--out", out, "--images", images, "--licence", "cc-by-4.0", "-q"]
    result = CliRunner().invoke(
        export_labels, [*map(str, arguments), "--name", "Streets (of 1 town)", "--creator", "me"]
    )
    assert result.exit_code == 0, result.output + repr(result.exception)
    dataset = mlcroissant.Dataset(jsonld=str(out / "croissant.json"))
    assert dataset.metadata.name == "Streets (of 1 town)"
    assert not dataset.metadata.ctx.issues.errors
    document = json.loads((out / "croissant.json").read_text())
    files = {row["contentUrl"]: row["sha256"] for row in document["distribution"]}
    on_disk = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert on_disk == {*files, "README.md", "croissant.json"}
    assert all(hashlib.sha256((out / file).read_bytes()).hexdigest() == digest for file, digest in files.items())
