"""Label sets whose thresholds a rule chooses, against a recomputation from the codes that the run left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.data.loaders import load_label
from autolabel.data.manifest import Manifest
from autolabel.labels.calibration import CellCounts, calibrate
from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import read_shard
from autolabel.store import Artefact
from tests.stages.tiny_pipeline import Tiny, call, call_json

pytestmark = pytest.mark.xdist_group("tiny")
EDGES = f"infer.edges={sorted({0.5, *(round(0.11 + i * 0.004, 3) for i in range(20))})}"


def cut(tiny: Tiny, *settings: str) -> tuple[Artefact, Artefact]:
    """The codes and the label set under these settings, beside the others."""
    options = [part for setting in (EDGES, "label.coarse=off", *settings) for part in ("--set", setting)]
    call_json("run", tiny.file, "--work", tiny.work, "-q", "--until", "label", *options)
    steps = tiny.states(*options)
    return tuple(Artefact.open(Path(steps[name]["path"])) for name in ("infer", "label"))


def coded(codes: Artefact, split: str) -> tuple[Codebook, dict[str, np.ndarray]]:
    index = json.loads(codes.read("shards.json"))
    maps = {}
    for entry in index["shards"]:
        shard = read_shard(codes.read(entry["name"]))
        maps |= {image_id: shard.codes(image_id) for image_id in shard.ids if entry["split"] == split}
    return shard.book, maps


def labels_of(labels: Artefact) -> dict[str, np.ndarray]:
    manifest = Manifest.from_files(labels.read)
    return {row.image_id: np.array(Image.open(labels.data / row.path)) for row in manifest.labels}


def test_quantile(tiny: Tiny) -> None:
    codes, labels = cut(tiny, "label.threshold=quantile", "label.quantile=0.4", "label.quantile_range=[0.11, 0.19]")
    book, maps = coded(codes, "train")
    winner, bins = (
        np.concatenate(parts)
        for parts in zip(*([part.ravel() for part in book.classes_and_bins(m)] for m in maps.values()), strict=True)
    )
    allowed = [i for i, edge in enumerate(book.edges) if 0.11 <= edge <= 0.19]
    names = Manifest.from_files(labels.read).classes.names
    wanted = {
        name: book.edges[min(allowed, key=lambda i: abs(np.sum(bins[winner == k] <= i) - 0.4 * np.sum(winner == k)))]
        for k, name in enumerate(names)
    }
    assert labels.meta["thresholds"] == wanted
    assert len(set(wanted.values())) > 1, "classes differ, or the rule was not needed"
    lut = book.lut(list(wanted.values()))
    for image_id, label in labels_of(labels).items():
        np.testing.assert_array_equal(label, lut[maps[image_id]])


def test_calibrated(tiny: Tiny) -> None:
    codes, labels = cut(tiny, "label.threshold=0.2", "label.threshold_on=calibrated", "label.class_thresholds={car=0}")
    book, val = coded(codes, "val")
    data = Manifest.from_files(lambda name: (tiny.data("manifest") / name).read_bytes())
    cells = CellCounts(book)
    for image_id, m in val.items():
        fine = load_label(data.label(image_id, "fine"), {"data": tiny.data("manifest")}, data.classes)
        cells.add(*book.classes_and_bins(m), fine)
    probabilities = calibrate(cells)
    _, maps = coded(codes, "train")
    for image_id, label in labels_of(labels).items():
        winner, bins = book.classes_and_bins(maps[image_id])
        right = probabilities[winner, bins]
        car = winner == data.classes.names.index("car")
        np.testing.assert_array_equal(label, np.where((right > 0.2) | car, winner, 255))


@pytest.mark.parametrize("setting", ["label.threshold=quantile", "label.threshold_on=calibrated"])
def test_the_same_bytes_again(tiny: Tiny, setting: str) -> None:
    _, first = cut(tiny, setting, "label.quantile_range=[0.1, 0.5]")
    path, digest = first.path, first.digest
    path.rename(path.with_name("other"))
    try:
        _, second = cut(tiny, setting, "label.quantile_range=[0.1, 0.5]")
        assert (second.path, second.digest) == (path, digest)
    finally:
        import shutil

        shutil.rmtree(path.with_name("other"))


def test_two_rules_at_once_are_refused(tiny: Tiny) -> None:
    both = ("--set", "label.threshold=quantile", "--set", "label.threshold_on=calibrated")
    result = call("run", tiny.file, "--work", tiny.work, *both)
    assert result.exit_code == 2
    assert 'needs threshold_on = "network"' in result.stderr


def test_cut_by_the_same_rules(tiny: Tiny, tmp_path: Path) -> None:
    """`cut` without an experiment, from codes and an audit, gives the pixels of the run."""
    own = ("label.threshold=0.2", "label.threshold_on=calibrated", "label.class_thresholds={car=0.1}")
    codes, labels = cut(tiny, *own)
    options = [part for setting in (EDGES, "label.coarse=off", *own) for part in ("--set", setting)]
    call_json("run", tiny.file, "--work", tiny.work, "-q", "--until", "audit", *options)
    audit = Path(tiny.states(*options)["audit"]["path"])
    arguments = ("--threshold", 0.2, "--class-threshold", "car=0.1", "-q")
    for number, place in enumerate((audit, audit / "data" / "audit.json")):
        out = tmp_path / str(number)
        call_json("cut", codes.path, "--calibration", place, *arguments, "--out", out)
        for row in Manifest.from_files(labels.read).labels:
            assert (out / row.path).read_bytes() == labels.read(row.path)
    foreign = json.loads((audit / "data" / "audit.json").read_text())
    bins = foreign["calibration"]["classes"].pop("car")
    for odd in (float("nan"), -0.1, 1e30):
        changed = foreign["calibration"] | {"classes": {**foreign["calibration"]["classes"], "car": [odd] * len(bins)}}
        (tmp_path / "odd.json").write_text(json.dumps({**foreign, "calibration": changed}))
        said = call("cut", codes.path, "--calibration", tmp_path / "odd.json", *arguments, "--out", tmp_path / "x")
        assert (said.exit_code, "outside 0 to 1" in said.stderr) == (3, True)
    (tmp_path / "foreign.json").write_text(json.dumps(foreign))
    said = call("cut", codes.path, "--calibration", tmp_path / "foreign.json", *arguments, "--out", tmp_path / "x")
    assert (said.exit_code, len(said.stderr.splitlines())) == (3, 1)
    both = call("cut", codes.path, "--calibration", audit, "--threshold", "quantile", "--out", tmp_path / "x")
    assert both.exit_code == 2
    assert not (tmp_path / "x").exists()


def test_cut_by_quantile(tiny: Tiny, tmp_path: Path) -> None:
    range_ = "label.quantile_range=[0.35, 0.9]"
    codes, labels = cut(tiny, "label.threshold=quantile", range_)
    call_json("cut", codes.path, "--threshold", "quantile", "--out", tmp_path / "out", "-q")
    for row in Manifest.from_files(labels.read).labels:
        assert (tmp_path / "out" / row.path).read_bytes() == labels.read(row.path)
