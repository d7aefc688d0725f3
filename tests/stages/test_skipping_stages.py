"""Skipping through the stages: counted a chunk, compared on a sample, stated in audit and report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.stages.tiny_pipeline import Tiny, call_json

SCALES = "infer.scales=[0.5, 1.0, 2.0]"


def run(tiny: Tiny, work: Path, *changes: str) -> dict[str, Path]:
    options = [word for change in (SCALES, *changes) for word in ("--set", change)]
    call_json("run", tiny.file, "--work", work, "-q", *options)
    stages = call_json("status", tiny.file, "--work", work, *options)["stages"]
    return {stage["name"]: Path(stage["path"]) for stage in stages}


def meta(artefact: Path) -> dict:
    return json.loads((artefact / "manifest.json").read_text())["meta"]


def codes(artefact: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (artefact / "data").iterdir()}


def test_what_was_skipped_is_stated(tiny: Tiny, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(tiny.work, work)
    some = run(tiny, work, "infer.skip=1.0", "infer.skip_check=3")
    skipped, agreement = meta(some["infer"])["skip"]["skipped"], meta(some["infer"])["skip"]["agreement"]
    assert skipped["pixels"] == 8 * 96 * 160, "of 5 images to label and 3 to validate on"
    assert 0 < skipped["skipped"] <= skipped["pixels"]
    assert agreement["images"] == 3
    assert agreement["pixels"] == 3 * 48 * 80
    audit = json.loads((some["audit"] / "data" / "audit.json").read_text())["skipping"]
    assert audit["skipped"] == skipped["skipped"] / skipped["pixels"]
    assert audit["same_label"] == agreement["same_label"] / agreement["pixels"]
    page = (some["report"] / "data" / "report.html").read_text()
    assert '<section id="skipping">' in page
    assert "3 images were labelled without skipping too" in page


def test_what_skips_nothing_gives_the_codes_of_dense(tiny: Tiny, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(tiny.work, work)
    dense, none = run(tiny, work), run(tiny, work, "infer.skip=1e-9")
    assert codes(dense["infer"]) == codes(none["infer"])
    assert "skip" not in meta(dense["infer"])
    found = meta(none["infer"])["skip"]
    assert found["skipped"]["skipped"] == 0
    assert found["agreement"]["same_label"] == found["agreement"]["same_class"] == found["agreement"]["pixels"] > 0
    assert "skipping" not in json.loads((dense["audit"] / "data" / "audit.json").read_text())
