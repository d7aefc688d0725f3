"""`predict` and the folders it reads and writes."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.formats.label_sets import open_label_set
from autolabel.store import WORK_MARK, open_draft, sha256_bytes
from tests.cli.predict_call import predict, refused, results, tiny_weights, write_image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


def test_results_below_the_images_are_no_images(weights: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.png")
    write_image(tmp_path / "in" / "._a.png")
    write_image(tmp_path / "in" / ".cache" / "b.png")
    (tmp_path / "in" / "folder.png").mkdir()
    out = tmp_path / "in" / "out"
    for _ in range(2):
        assert predict(weights, tmp_path / "in", "--out", out).exit_code == 0
        assert results(out) == {"labels/a.png", "overlays/a.png"}
    write_image(tmp_path / "in" / "work" / "artefacts" / "b.png")
    (tmp_path / "in" / "work" / WORK_MARK).touch()
    assert predict(weights, tmp_path / "in", "--out", tmp_path / "other").exit_code == 0
    assert results(tmp_path / "other") == {"labels/a.png", "overlays/a.png"}
    assert "would be taken for images" in refused(predict(weights, out, "--out", tmp_path / "third"), 3)
    assert "is a folder of IMAGES" in refused(predict(weights, tmp_path / "in", "--out", tmp_path / "in"), 2)


def test_no_image_is_replaced_by_a_result(weights: Path, tmp_path: Path) -> None:
    first, second = write_image(tmp_path / "a.png"), write_image(tmp_path / "overlays" / "a.png")
    before = second.read_bytes()
    said = refused(predict(weights, first, second, "--out", tmp_path), 2)
    assert "overlays/a.png: would be replaced by a result" in said
    assert (results(tmp_path), second.read_bytes()) == ({"a.png", "overlays/a.png"}, before)
    assert predict(weights, first, second, "--out", tmp_path / "out").exit_code == 0


def test_every_image_has_results_of_its_own(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stems that meet, also where a path looks like another's stem; names no file system likes."""
    monkeypatch.chdir(tmp_path)
    long, foreign = "n" * 200, os.fsdecode(b"n\xff")
    names = ["x.png", "X.png", "d/x.png", "d/x.png.png", f"{long}.png", "new\nline.png", f"{foreign}.png"]
    images = [write_image(Path(name)) for name in names]
    assert predict(weights, *images, "--out", "out", "--json").exit_code == 0
    assert len(results(Path("out"))) == 2 * len(images)


def test_what_is_wrong_is_said_before_the_first_image(weights: Path, tmp_path: Path) -> None:
    first, out = write_image(tmp_path / "a.png"), tmp_path / "out"
    assert "no such file or folder" in refused(predict(weights, first, tmp_path / "b.png", "--out", out), 3)
    assert "is not a folder" in refused(predict(weights, first, "--out", first), 2)
    assert predict(weights, first, "--out", out, "--threshold", "nan").exit_code == 2
    assert predict(weights, first, "--out", out, "--threshold", "1").exit_code == 2
    assert "name a file twice" in refused(predict(weights, first, first, "--out", out), 2)
    assert not out.exists()


def test_weights_of_an_artefact_are_checked(weights: Path, tmp_path: Path) -> None:
    first, out = write_image(tmp_path / "a.png"), tmp_path / "out"
    assert "is no teacher or student artefact" in refused(predict(tmp_path, first, "--out", out), 3)
    draft = open_draft(tmp_path / "teacher", "0" * 16)
    draft.write(weights.name, weights.read_bytes())
    artefact = draft.commit(meta={}, provenance={})
    assert predict(artefact.path, first, "--out", out).exit_code == 0
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    artefact.file(weights.name).write_bytes(damaged)
    assert "differ from what was committed" in refused(predict(artefact.path, first, "--out", out), 1)


def table(out: Path) -> dict[str, str]:
    with (out / "labels" / "labels.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: row["label"] for row in csv.DictReader(file)}


def test_results_have_the_paths_and_names_of_their_images(weights: Path, tmp_path: Path) -> None:
    names = ["front cam/straße.jpg", "front cam/x.png", "front cam/x.jpg", "rear/x.png", "a.b.png", "日本/e\u0301.png"]
    for name in names:
        write_image(tmp_path / "in" / name)
    out = tmp_path / "out"
    assert predict(weights, tmp_path / "in", "--out", out).exit_code == 0
    rest = ("front cam/x.png.png", "front cam/x.jpg.png", "rear/x.png", "a.b.png", "日本/e\u0301.png")
    mirrored = {"front cam/straße.png", *rest}
    assert results(out) == {f"{kind}/{name}" for kind in ("labels", "overlays") for name in mirrored}
    assert table(out) == {name.removesuffix(".png"): name for name in mirrored}
    listed = [tmp_path / "in" / "front cam", tmp_path / "in" / "rear" / "x.png"]
    assert predict(weights, *listed, "--out", tmp_path / "some").exit_code == 0
    assert "rear/x" in table(tmp_path / "some"), "paths start at the folder that all images have in common"


def test_ids_of_the_data_set(weights: Path, tmp_path: Path) -> None:
    image, out = write_image(tmp_path / "a.png"), tmp_path / "out"
    assert "name its class file with --classes" in refused(predict(weights, image, "--ids", "dataset", "--out", out), 2)
    file = tmp_path / "classes.toml"
    file.write_text('names = ["a", "c"]')
    says = refused(predict(weights, image, "--classes", file, "--out", out), 2)
    assert "its classes are not those of the labels: b, c; the labels have a, b" in says
    assert not out.exists()
    file.write_text('names = ["a", "b"]\nids = [1, 0]\nignored_ids = [9]\npalette = [[1, 2, 3], [4, 5, 6]]')
    own = tmp_path / "own"
    options = ("--threshold", 0.51, "--classes", file)
    assert predict(weights, image, *options, "--out", out).exit_code == 0
    assert predict(weights, image, *options, "--ids", "dataset", "--out", own).exit_code == 0
    first, second = (np.asarray(Image.open(folder / "labels" / "a.png")) for folder in (out, own))
    np.testing.assert_array_equal(np.array([1, 0, *[9] * 254], np.uint8)[first], second)
    statement = json.loads((own / "classes.json").read_text())
    assert (statement["label_ids"], statement["values"], statement["ignore"]) == ("dataset", [1, 0], 9)
    assert "other classes or in other ids" in refused(predict(weights, image, *options, "--out", own), 2)
    assert np.array_equal(np.asarray(Image.open(own / "labels" / "a.png")), second), "the label set is still one"
    by_label_set = ("--classes", own / "classes.json", "--ids", "dataset", "--threshold", 0.51)
    assert predict(weights, image, *by_label_set, "--out", own).exit_code == 0


@pytest.mark.parametrize("name", ["labels/a.png", "classes.json", "legend.png", "labels"])
def test_files_of_other_origin_are_left_alone(weights: Path, tmp_path: Path, name: str) -> None:
    image, out = write_image(tmp_path / "a.png"), tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_bytes(b"mine")
    assert "give a new folder with --out" in refused(predict(weights, image, "--out", out), 2)
    assert {path.read_bytes() for path in out.rglob("*") if path.is_file()} == {b"mine"}


def test_a_killed_command_leaves_no_label_that_the_table_does_not_know(weights: Path, tmp_path: Path) -> None:
    """The statement of ids is there before the first label, and the table only while it names them all."""
    first, second, out = write_image(tmp_path / "a.png"), write_image(tmp_path / "b.png"), tmp_path / "out"
    assert predict(weights, first, "--out", out).exit_code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autolabel.cli.predict.LabelFolder.finish", lambda self, output: 1 / 0)
        with pytest.raises(AssertionError, match="division by zero"):
            predict(weights, second, "--out", out)
    assert {path.name for path in (out / "labels").iterdir()} == {"a.png", "b.png", "classes.json"}


def test_mean_confidence_is_finer_than_the_threshold(weights: Path, tmp_path: Path) -> None:
    image, out = write_image(tmp_path / "a.png"), tmp_path / "out"
    assert predict(weights, image, "--threshold", 0.500001, "--out", out).exit_code == 0
    with (out / "labels" / "labels.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert 0.5 < float(row["mean_confidence"]) < 1


def test_a_corrected_label_is_not_replaced(weights: Path, tmp_path: Path) -> None:
    image, out = write_image(tmp_path / "a.png"), tmp_path / "out"
    assert predict(weights, image, "--out", out).exit_code == 0
    assert predict(weights, image, "--out", out, "--threshold", 0.5).exit_code == 0, "our own results are replaced"
    (out / "labels" / "a.png").write_bytes(b"corrected by hand")
    said = refused(predict(weights, image, "--out", out), 2)
    assert "labels/a.png: is there already, and not as this command wrote it" in said
    assert (out / "labels" / "a.png").read_bytes() == b"corrected by hand"
    assert predict(weights, image, "--out", out, "--overwrite").exit_code == 0
    assert predict(weights, image, "--out", out).exit_code == 0
    rows = json.loads((out / "predictions.json").read_text())["files"]
    assert all(row["sha256"] == sha256_bytes((out / row["file"]).read_bytes()) for row in rows)
    assert {"labels/a.png", "overlays/a.png", "labels/labels.csv"} <= {row["file"] for row in rows}


def test_results_go_into_no_artefact(weights: Path, tmp_path: Path) -> None:
    draft = open_draft(tmp_path / "label", "0123456789abcdef" * 4)
    made = draft.commit(meta={}, provenance={})
    said = refused(predict(weights, write_image(tmp_path / "a.png"), "--out", made.data), 2)
    assert "which never changes" in said
    assert made.verify(full=True) == []


def test_an_image_whose_label_gets_another_path_has_one_label(weights: Path, tmp_path: Path) -> None:
    """Paths of labels depend on what lies beside an image: `A.png` is gone at the second command."""
    for name in ("a.png", "a.bmp", "A.png"):
        write_image(tmp_path / "in" / name)
    out = tmp_path / "out"
    assert predict(weights, tmp_path / "in", "--out", out).exit_code == 0
    (tmp_path / "in" / "A.png").unlink()
    for _ in range(2):
        assert predict(weights, tmp_path / "in", "--out", out).exit_code == 0
    rows = list(csv.DictReader((out / "labels" / "labels.csv").read_text().splitlines()))
    assert sorted(row["image"] for row in rows) == ["A.png", "a.bmp", "a.png"]
    assert {row["image"]: row["label"] for row in rows}["a.png"] == "a.png.png"
    assert {item.id for item in open_label_set(out).items} == {"A.png", "a.bmp", "a.png"}
