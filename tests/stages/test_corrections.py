"""A round: labels leave for a tool, a person changes pixels there, and only what depends on them runs again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from autolabel.classes import IGNORE
from autolabel.formats.brush_rle import encode
from autolabel.formats.label_sets import LabelSet, open_label_set
from autolabel.formats.runs import class_runs
from autolabel.labels import png
from tests.stages.tiny_pipeline import Tiny, call, call_json

PIXELS = 100  # changed in each of five images: 500


def edit_cvat(folder: Path, labels: LabelSet) -> Path:
    """A box of 10 x 10 pixels of class "car" on top in each image, as a person draws it in CVAT."""
    file = folder / "annotations.xml"
    box = '<box label="car" source="manual" occluded="0" xtl="3" ytl="5" xbr="13" ybr="15" z_order="1"/></image>'
    file.write_text(file.read_text().replace("</image>", box))
    return file


def edit_label_studio(folder: Path, labels: LabelSet) -> Path:
    """The predictions accepted, with a brush stroke more, as Label Studio exports them."""
    file = folder / "tasks.json"
    tasks = json.loads(file.read_text())
    for number, task in enumerate(tasks):
        result = task.pop("predictions")[0]["result"]
        height, width = labels.items[number].read().shape
        stroke = np.zeros((height, width), np.uint8)
        stroke[5:15, 3:13] = 1
        value = {"format": "rle", "rle": encode(class_runs(stroke.ravel())[1]), "brushlabels": ["car"]}
        result.append({**result[0], "value": value})
        annotation = {"id": number, "completed_by": {"email": "ada@example.org"}, "updated_at": "2026-01-02T03:04:05Z"}
        task["annotations"] = [{**annotation, "result": result}]
    file.write_text(json.dumps(tasks))
    return file


EDITS = {"cvat": edit_cvat, "label-studio": edit_label_studio}


@pytest.mark.slow
@pytest.mark.parametrize("name", EDITS)
def test_corrections_come_home(tiny: Tiny, name: str, tmp_path: Path) -> None:
    work = shutil.copytree(tiny.work, tmp_path / "work")
    label = Path(tiny.states()["label"]["path"])
    labels = open_label_set(label)
    exported = call("export", "labels", label, "--format", name, "--out", tmp_path / "export", "-q")
    assert exported.exit_code == 0, exported.output
    file = EDITS[name](tmp_path / "export", labels)
    out = tmp_path / "corrections"
    arguments = (file, "--labels", label, "--format", name, "--out", out)
    result = call_json("corrections", "import", *arguments, "-q")
    before = {item.id: item.read() for item in labels.items}
    car = labels.classes.names.index("car")
    expected = {id_: int(np.count_nonzero(map_[5:15, 3:13] != car)) for id_, map_ in before.items()}
    assert result["pixels"] == sum(expected.values()) > 4 * PIXELS
    corrections = f"fuse.corrections={out}"
    states = call_json("status", tiny.file, "--work", work, "--set", corrections)["stages"]
    stale = {state["name"] for state in states if state["state"] != "fresh"}
    assert stale == {"fuse", "student", "evaluate-student", "report"}
    options = (tiny.file, "--work", work, "--set", corrections, "-q")
    told = call("run", *options, "--until", "student").stdout
    summary = call_json("run", *options, "--until", "student")
    states = {s["name"]: s for s in call_json("status", tiny.file, "--work", work, "--set", corrections)["stages"]}
    fused = Path(states["fuse"]["path"]) / "data"
    assert summary["corrected"] == {"images": 5, "pixels": result["pixels"], "path": str(fused)}
    assert f"corrected      {result['pixels']} pixels of 5 labels, set by people" in told
    assert f"               {fused}\n" in told
    rows = {row["image_id"]: row for row in pq.read_table(fused / "labels.parquet").to_pylist()}
    ledger = {row["id"]: row for row in json.loads((fused / "corrected.json").read_text())}
    for image_id, map_ in before.items():
        after = png.decode((fused / rows[image_id]["path"]).read_bytes())
        wanted = map_.copy()
        wanted[5:15, 3:13] = car
        np.testing.assert_array_equal(after, wanted)
        assert rows[image_id]["role"] == "corrected"
        assert (ledger[image_id]["pixels"], ledger[image_id]["base"]) == (expected[image_id], "auto")
        assert ledger[image_id]["author"] == ("ada@example.org" if name == "label-studio" else "")
    assert all(row["role"] == "fine" for id_, row in rows.items() if id_ not in before)
    provenance = json.loads((Path(states["student"]["path"]) / "manifest.json").read_text())["meta"]
    assert re.search("corrected", provenance["trained_on"])


@pytest.mark.slow
def test_what_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    label = Path(tiny.states()["label"]["path"])
    call("export", "labels", label, "--format", "cvat", "--out", tmp_path / "export", "-q")
    file = tmp_path / "export" / "annotations.xml"
    arguments = ("--labels", label, "--format", "cvat", "--out", tmp_path / "corrections", "-q")
    unchanged = call("corrections", "import", file, *arguments)
    assert (unchanged.exit_code, "differs" in unchanged.stderr) == (3, True)
    text = file.read_text()
    file.write_text(text.replace(">car<", ">cart<").replace('"car"', '"cart"'))
    renamed = call("corrections", "import", file, *arguments)
    assert (renamed.exit_code, "cart" in renamed.stderr) == (3, True)
    file.write_text(text.replace('.png" width', 'x.png" width'))
    missing = call("corrections", "import", file, *arguments)
    assert (missing.exit_code, "does not have images" in missing.stderr) == (3, True)
    file.write_text(text.replace('width="80"', 'width="81"', 1))
    assert "states 81 x 48, its label is 80 x 48" in call("corrections", "import", file, *arguments).stderr
    assert not (tmp_path / "corrections").exists()


@pytest.mark.slow
def test_corrections_of_another_experiment_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    label = Path(tiny.states()["label"]["path"])
    call("export", "labels", label, "--format", "cvat", "--out", tmp_path / "export", "-q")
    file = edit_cvat(tmp_path / "export", open_label_set(label))
    out = tmp_path / "out"
    call_json("corrections", "import", file, "--labels", label, "--format", "cvat", "--out", out, "--by", "me", "-q")
    index = out / "corrections.json"
    document = json.loads(index.read_text())
    assert {image["author"] for image in document["images"]} == {"me"}

    def refused(**changes: object) -> str:
        index.write_text(json.dumps(document | changes))
        result = call(
            "run", tiny.file, "--work", tiny.work, "--set", f"fuse.corrections={out}", "-q", "--until", "fuse"
        )
        assert result.exit_code == 3, result.output
        assert len(result.stderr.splitlines()) == 1
        return result.stderr

    assert "is of the classes a, b" in refused(classes=["a", "b"])
    image = document["images"][0]
    assert "no training images of the data" in refused(images=[image | {"id": "other"}])
    assert "leaves its root" in refused(images=[image | {"path": "../x.png"}])
    assert "no index of corrections" in refused(format_version=2)
    shutil.rmtree(out)
    result = call("run", tiny.file, "--work", tiny.work, "--set", f"fuse.corrections={out}", "-q", "--until", "fuse")
    assert (result.exit_code, len(result.stderr.splitlines())) == (3, 1)


def test_a_pixel_set_to_ignore_survives() -> None:
    from autolabel.formats.corrections import UNCHANGED, apply, corrected

    before = np.array([[0, 1, IGNORE, 2]], np.uint8)
    after = np.array([[IGNORE, 1, 0, 1]], np.uint8)
    mask = corrected(before, after, keep_uncovered=False)
    assert mask.tolist() == [[IGNORE, UNCHANGED, 0, 1]]
    np.testing.assert_array_equal(apply(before, mask), after)
    kept = corrected(before, after, keep_uncovered=True)
    assert apply(before, kept).tolist() == [[0, 1, 0, 1]]
    assert apply(None, mask).tolist() == [[IGNORE, IGNORE, 0, 1]]


@pytest.mark.slow
def test_another_image_does_not_get_the_labels(tiny: Tiny, tmp_path: Path) -> None:
    """An image was replaced by one of its name and size: neither an export nor corrections take it for the old one."""
    label = Path(tiny.states()["label"]["path"])
    images = shutil.copytree(tiny.data("manifest") / "images", tmp_path / "images")
    arguments = ("export", "labels", label, "--format", "mmseg", "--images", images, "--copy-images", "-q", "--out")
    assert call(*arguments, tmp_path / "same").exit_code == 0
    rows = {row["id"]: row for row in pq.read_table(label / "data" / "images.parquet").to_pylist()}
    first, second, *_ = (images / Path(row["path"]).name for row in rows.values())
    first.write_bytes(second.read_bytes())
    refused = call(*arguments, tmp_path / "other")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (3, 1)
    assert f"{first}: is not the image that was labelled" in refused.stderr
    assert not (tmp_path / "other").exists()

    exported = call("export", "labels", label, "--format", "cvat", "--out", tmp_path / "export", "-q")
    assert exported.exit_code == 0, exported.output
    file, out = edit_cvat(tmp_path / "export", open_label_set(label)), tmp_path / "out"
    call_json("corrections", "import", file, "--labels", label, "--format", "cvat", "--out", out, "-q")
    document = json.loads((out / "corrections.json").read_text())
    assert {image["id"]: image["image_sha256"] for image in document["images"]} == {
        i: r["sha256"] for i, r in rows.items()
    }
    document["images"][0]["image_sha256"] = document["images"][1]["image_sha256"]
    (out / "corrections.json").write_text(json.dumps(document))
    work = shutil.copytree(tiny.work, tmp_path / "work")
    result = call("run", tiny.file, "--work", work, "--set", f"fuse.corrections={out}", "-q", "--until", "fuse")
    assert (result.exit_code, len(result.stderr.splitlines())) == (3, 1)
    assert f"{document['images'][0]['id']!r}, whose image has changed since" in result.stderr
