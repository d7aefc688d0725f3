"""Finer bins and second classes, in two bytes a pixel, from the teacher to the audit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.labels.shards import read_shard
from autolabel.labels.threshold import confidence_table
from tests.stages.tiny_pipeline import Tiny, call

pytestmark = [pytest.mark.xdist_group("tiny"), pytest.mark.slow]

EDGES = [round(0.02 * step, 2) for step in range(1, 50)]  # 0.4 and 0.5 among them
SETTINGS = [f"infer.edges={EDGES}", "infer.second_below=0.9", "label.weights=true"]


@pytest.fixture(scope="module")
def work(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fine")
    for step in ("manifest", "teacher"):
        shutil.copytree(tiny.work / "artefacts" / step, folder / "artefacts" / step)
    options = [word for setting in SETTINGS for word in ("--set", setting)]
    result = call("run", tiny.file, "--work", folder, "-q", "--until", "audit", *options)
    assert result.exit_code == 0, result.output
    return folder


def data(work: Path, step: str) -> Path:
    (made,) = (path for path in (work / "artefacts" / step).iterdir() if (path / "COMMIT").is_file())
    return made / "data"


def pngs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "labels").glob("*.png")}


def test_labels_do_not_depend_on_what_else_codes_hold(tiny: Tiny, work: Path) -> None:
    """Threshold 0.4 is an edge of the default bins too."""
    assert pngs(data(work, "label")) == pngs(tiny.data("label"))
    assert len(pngs(data(work, "label"))) == 5


def test_codes_agree_with_the_default_ones(tiny: Tiny, work: Path) -> None:
    fine, plain = data(work, "infer"), tiny.data("infer")
    for file in fine.glob("*.h5"):
        ours, theirs = read_shard(file), read_shard(plain / file.name)
        assert (ours.book.dtype, ours.book.bins, ours.book.second_below) == (np.uint16, 50, 0.9)
        for image_id in ours.ids:
            codes = ours.codes(image_id)
            classes, bins = ours.book.classes_and_bins(codes)
            second = ours.book.second_classes(codes)
            np.testing.assert_array_equal(classes, theirs.book.classes_and_bins(theirs.codes(image_id))[0])
            np.testing.assert_array_equal(second != 255, bins <= EDGES.index(0.9))
            assert (second != classes).all()


def test_weights_are_as_fine_as_the_bins(work: Path) -> None:
    labels, codes = data(work, "label"), data(work, "infer")
    index = json.loads((labels / "weights.json").read_text())
    for file in codes.glob("codes-*.h5"):
        shard = read_shard(file)
        for image_id in shard.ids:
            weights = np.asarray(Image.open(labels / index[image_id]["path"]))
            table = confidence_table(shard.book)[shard.codes(image_id)]
            assert np.isin(weights[weights != table], (0, 255)).all(), "ignored, or drawn by an annotator"


def test_the_audit_says_what_second_classes_are_worth(work: Path) -> None:
    evidence = json.loads((data(work, "audit") / "audit.json").read_text())["evidence"]
    assert [row["threshold"] for row in evidence["thresholds"]] == [0, *EDGES]
    assert 0 < evidence["second"]["kept"] <= 1
    assert 0 < evidence["second"]["wrong"] <= evidence["pixels"]
    assert 0 <= evidence["second"]["right"] <= 1


def test_any_of_the_edges_cuts(work: Path, tmp_path: Path) -> None:
    codes = data(work, "infer")
    assert call("cut", codes, "--threshold", "0.42", "--out", tmp_path / "fine", "-q").exit_code == 0
    shard = read_shard(next(codes.glob("codes-*.h5")))
    for image_id in shard.ids:
        labels = np.asarray(Image.open(tmp_path / "fine" / "labels" / f"{image_id}.png"))
        classes, bins = shard.book.classes_and_bins(shard.codes(image_id))
        np.testing.assert_array_equal(labels, np.where(bins > EDGES.index(0.42), classes, 255))
    result = call("cut", codes, "--threshold", "0.41", "--out", tmp_path / "other", "-q")
    assert (result.exit_code, "0.41 is no bin edge" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["infer.second_below=0.55"], "infer.second_below: 0.55 is no bin edge"),
        ([f"infer.edges={[round(0.001 * n, 3) for n in range(1, 999)]}", "infer.second_below=0.5"], "exceed two bytes"),
    ],
)
def test_what_cannot_be_is_refused_before_work_begins(
    tiny: Tiny, tmp_path: Path, settings: list[str], says: str
) -> None:
    options = [word for setting in settings for word in ("--set", setting)]
    result = call("run", tiny.file, "--work", tmp_path, "-q", *options)
    assert (result.exit_code, says in result.stderr) == (2, True)
    assert not (tmp_path / "artefacts").exists()
