"""The results of a tiny pipeline's stages, checked against the data itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.data.manifest import Manifest
from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import read_shard
from tests.stages.tiny_pipeline import Tiny, call, call_json

pytestmark = [pytest.mark.xdist_group("tiny"), pytest.mark.slow]  # one worker builds the fixture


def manifest_of(folder: Path) -> Manifest:
    return Manifest.from_files(lambda name: (folder / name).read_bytes())


def test_the_result_has_what_scripts_rely_on(tiny: Tiny) -> None:
    assert set(tiny.result) >= {"teacher_miou", "student_miou", "labels", "report", "schema_version"}
    assert 0 <= tiny.result["teacher_miou"] <= 1
    assert tiny.result["labels"]["count"] == 5
    assert Path(tiny.result["report"]).read_text().startswith("<!")


def test_labels_are_grey_pngs_of_the_images_sizes_and_agree_with_the_codes(tiny: Tiny) -> None:
    data, labels = manifest_of(tiny.data("manifest")), manifest_of(tiny.data("label"))
    index = json.loads((tiny.data("infer") / "shards.json").read_text())
    lut = Codebook.from_dict(index["book"]).lut(0.4)
    shards = [read_shard(tiny.data("infer") / s["name"]) for s in index["shards"] if s["split"] == "train"]
    codes = {image_id: shard.codes(image_id) for shard in shards for image_id in shard.ids}
    assert {row.image_id for row in labels.labels} == set(codes)
    for row in labels.labels:
        with Image.open(tiny.data("label") / row.path) as opened:
            assert opened.mode == "L"
            label = np.array(opened)
        image = data.image(row.image_id)
        assert label.shape == (image.height, image.width)
        coarse_row = data.label(row.image_id, "coarse")
        assert coarse_row is not None
        coarse = np.array(Image.open(tiny.data("manifest") / coarse_row.path))
        np.testing.assert_array_equal(label, np.where(coarse != 255, coarse, lut[codes[row.image_id]]))
        assert row.counts == tuple(np.bincount(label.ravel(), minlength=256)[[*range(9), 255]].tolist())


def test_fusing_takes_fine_where_there_is_one_and_auto_elsewhere(tiny: Tiny) -> None:
    fused = manifest_of(tiny.data("fuse"))
    roles = [row.role for row in fused.labels]
    assert (roles.count("fine"), roles.count("auto")) == (4, 5)
    assert all(row.split == "train" for row in fused.images)


def test_the_audit_measures_what_is_there(tiny: Tiny) -> None:
    audit = json.loads((tiny.data("audit") / "audit.json").read_text())
    sizes = [file.stat().st_size for file in (tiny.data("label") / "labels").glob("*.png")]
    assert (audit["footprint"]["labels"], audit["footprint"]["bytes"]) == (len(sizes), sum(sizes))
    assert audit["ignored"]["pixels"] == 5 * 48 * 80
    assert audit["leak"]["warning"] is None
    truth, labels, data = [], [], manifest_of(tiny.data("manifest"))
    for row in manifest_of(tiny.data("label")).labels:
        truth_row = data.label(row.image_id, "truth")
        assert truth_row is not None
        truth.append(np.array(Image.open(tiny.data("manifest") / truth_row.path)))
        labels.append(np.array(Image.open(tiny.data("label") / row.path)))
    produced, right = np.stack(labels), np.stack(truth)
    both = (produced != 255) & (right != 255)
    assert audit["auto_truth"]["accuracy"] == pytest.approx((produced == right)[both].mean())
    assert audit["evidence"]["images"] == 3


def test_prediction_files_hold_ids_at_the_images_sizes(tiny: Tiny) -> None:
    files = sorted((tiny.data("evaluate-student") / "predictions").iterdir())
    assert len(files) == 3
    assert np.array(Image.open(files[0])).shape == (48, 80)


def test_running_again_does_nothing(tiny: Tiny) -> None:
    assert call_json("run", tiny.file, "--work", tiny.work, "-q")["made"] == []
    result = call("run", tiny.file, "--work", tiny.work, "-q")
    assert "no work was done" in result.stdout
    assert {state["state"] for state in tiny.states().values()} == {"fresh"}


def test_the_changed_settings_are_named(tiny: Tiny, tmp_path: Path) -> None:
    """Against the label set of the file; those of other tests, which may be nearer, are left out."""
    work = tmp_path / "work"
    fresh = tiny.data("label").parent
    for step in ("manifest", "teacher", "infer"):
        shutil.copytree(tiny.work / "artefacts" / step, work / "artefacts" / step)
    shutil.copytree(fresh, work / "artefacts" / "label" / fresh.name)
    options = ("--set", "label.threshold=0.3", "--set", "label.coarse=off")
    steps = call_json("status", tiny.file, "--work", work, *options)["stages"]
    why = next(step["why"] for step in steps if step["name"] == "label")
    assert sorted(why) == ["label.coarse: 'fill' -> 'off'", "label.threshold: 0.4 -> 0.3"]


def test_another_threshold_cuts_again_and_the_old_one_gives_the_old_bytes(tiny: Tiny) -> None:
    before = {f.name: f.read_bytes() for f in (tiny.data("label") / "labels").glob("*.png")}
    options = ("--set", "label.threshold=0.3", "--set", "label.coarse=off")
    steps = tiny.states(*options)
    assert steps["infer"]["state"] == "fresh"
    made = call_json("run", tiny.file, "--work", tiny.work, "-q", "--until", "label", *options)["made"]
    assert made == ["label"]
    assert {f.name: f.read_bytes() for f in (tiny.data("label") / "labels").glob("*.png")} == before


def test_verify_names_a_damaged_file(tiny: Tiny) -> None:
    assert call("verify", tiny.file, "--work", tiny.work, "--full").exit_code == 0
    victim = next(iter(sorted((tiny.data("label") / "labels").glob("*.png"))))
    good = victim.read_bytes()
    victim.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        result = call("verify", tiny.file, "--work", tiny.work, "--full")
        assert result.exit_code == 1
        assert victim.name in result.stdout
        assert call("verify", tiny.file, "--work", tiny.work).exit_code == 0, "the quick check reads no data"
    finally:
        victim.write_bytes(good)


def test_cut_without_an_experiment_gives_the_stage_s_bytes(tiny: Tiny, tmp_path: Path) -> None:
    codes = tiny.data("infer").parent
    result = call_json("cut", codes, "--threshold", 0.3, "--out", tmp_path / "cut", "-q")
    assert result["count"] == 5
    options = ("--set", "label.threshold=0.3", "--set", "label.coarse=off")
    call_json("run", tiny.file, "--work", tiny.work, "-q", "--until", "label", *options)
    staged = Path(tiny.states(*options)["label"]["path"]) / "data"
    assert {f.name: f.read_bytes() for f in (tmp_path / "cut" / "labels").glob("*.png")} == {
        f.name: f.read_bytes() for f in (staged / "labels").glob("*.png")
    }
    again = call("cut", codes, "--out", tmp_path / "cut")
    assert again.exit_code == 2
    assert "is not an empty folder" in again.stderr


def test_cut_refuses_what_is_no_edge(tiny: Tiny, tmp_path: Path) -> None:
    result = call("cut", tiny.data("infer"), "--threshold", 0.55, "--out", tmp_path / "cut")
    assert result.exit_code == 2
    assert "the edges are 0.3, 0.4, 0.5" in result.stderr
    result = call("cut", tiny.data("infer"), "--class-threshold", "kar=0.7", "--out", tmp_path / "cut")
    assert "did you mean 'car'?" in result.stderr
    assert not (tmp_path / "cut").exists()


def test_predict_labels_images_of_any_size(tiny: Tiny, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name, shape in (("a.png", (37, 53, 3)), ("b.jpg", (5, 3, 3)), ("c.png", (1, 1, 4)), ("d.png", (40, 41))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / "in" / name)
    teacher = tiny.data("teacher").parent
    result = call_json(
        "predict",
        "--teacher",
        teacher,
        tmp_path / "in",
        "--out",
        tmp_path / "out",
        "--details",
        "--scales",
        "0.5,1",
        "-q",
    )
    assert result["images"] == 4
    for name, shape in (("a", (37, 53)), ("b", (5, 3)), ("c", (1, 1)), ("d", (40, 41))):
        assert np.array(Image.open(tmp_path / "out" / "labels" / f"{name}.png")).shape == shape
        assert np.array(Image.open(tmp_path / "out" / "overlays" / f"{name}.png")).shape == (*shape, 3)
    assert (tmp_path / "out" / "attention0.5" / "a.png").is_file()


def test_a_gate_that_fails_ends_with_code_4_and_retrains_nothing(tiny: Tiny) -> None:
    result = call("run", tiny.file, "--work", tiny.work, "-q", "--set", "evaluate.min_miou=0.99", "--json")
    assert result.exit_code == 4
    assert "is below evaluate.min_miou" in result.stderr
    assert json.loads(result.stdout)["made"] == []
