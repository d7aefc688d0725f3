"""`check-data`, and the same checks in `init` and `run`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from autolabel.cli.main import cli
from autolabel.config.load import load_experiment
from tests.data.test_findings import NAMES, scene, tree
from tests.helpers.experiments import ONE_CORE, experiment_toml, scenes


def call(*args: object) -> Result:
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def experiment(root: Path, **more: object) -> Path:
    file = root / "e.toml"
    data = {"source": "folder", "root": str(root), **more}
    file.write_text(experiment_toml(name="small", data=data, runtime=ONE_CORE))
    return file


def binary(mask: np.ndarray) -> np.ndarray:
    return (mask == 3).astype(np.uint8) * 255


def test_the_values_beside_their_classes(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "images/film.gif").write_bytes(b"")
    result = call("check-data", experiment(tmp_path), "-q")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "6 fine masks hold these values:"
    masks = np.stack([scene(number) for number in range(6)])
    for k, name in enumerate(NAMES):
        assert lines[k + 1].split() == ["id", str(k), name, f"{100 * (masks == k).mean():.3f}", "%", "in", "6", "masks"]
    assert lines[5] == "note: 1 file(s) in images/ are left out because .gif is not read: film.gif"
    assert result.stderr == ""


def test_each_layer_has_a_table_of_its_own(tmp_path: Path) -> None:
    """Coarse masks ignore much, which says nothing of the fine ones."""
    tree(tmp_path)
    (tmp_path / "coarse").mkdir()
    coarse = np.full((40, 60), 255, np.uint8)
    coarse[:10] = 1
    for number in (4, 5):
        Image.fromarray(coarse).save(tmp_path / f"coarse/{number}.png")
        (tmp_path / f"masks/{number}.png").unlink()
    result = call("check-data", experiment(tmp_path), "-q")
    assert result.exit_code == 0, result.output
    masks = np.stack([scene(number) for number in range(4)])
    fine = [f"  id {k}  {n:5}  {100 * (masks == k).mean():7.3f} %  in 4 masks" for k, n in enumerate(NAMES)]
    tables = ["4 fine masks hold these values:", *fine, "2 coarse masks hold these values:"]
    tables += ["  id 1    house      25.000 %  in 2 masks", "  id 255  no class   75.000 %  in 2 masks"]
    assert result.stdout.splitlines()[:8] == tables
    layers = json.loads(call("check-data", experiment(tmp_path), "-q", "--json").stdout)["layers"]
    assert [(name, layer["masks"], len(layer["values"])) for name, layer in layers.items()] == [
        ("fine", 4, 4),
        ("coarse", 2, 2),
    ]


def test_a_cause_is_printed_once(tmp_path: Path) -> None:
    """A finding, the images that follow from it, and a broken file are each told once."""
    tree(tmp_path, lambda mask: np.where(mask == 3, 77, mask).astype(np.uint8))
    unknown = call("check-data", experiment(tmp_path), "-q")
    assert unknown.exit_code == 3
    assert unknown.output.count("id 77;") == 1
    assert "unusable: 6 images\n" in unknown.stdout
    tree(tmp_path)
    (tmp_path / "masks/2.png").write_bytes(b"no image")
    broken = call("check-data", experiment(tmp_path), "-q")
    assert broken.exit_code == 3
    assert broken.output.count("masks/2.png") == broken.output.count("is no PNG") == 1
    assert "nothing suspicious" not in broken.output
    kept = call("check-data", experiment(tmp_path, max_bad=1), "-q")
    assert kept.exit_code == 0
    assert kept.stdout.count("masks/2.png") == kept.stdout.count("is no PNG") == 1


def test_json(tmp_path: Path) -> None:
    tree(tmp_path, binary, names=("background", "car"))
    result = call("check-data", experiment(tmp_path), "-q", "--json")
    document = json.loads(result.stdout)
    assert [row["meaning"] for row in document["values"]] == ["background", "no class"]
    assert document["missing_classes"] == ["car"]
    findings = [(row["code"], row["level"]) for row in document["findings"]]
    assert findings == [("binary_masks", "doubt"), ("missing_classes", "note")]
    assert result.exit_code == 3


def test_a_doubt_is_one_line_and_can_be_confirmed(tmp_path: Path) -> None:
    tree(tmp_path, binary, names=("background", "car"))
    file = experiment(tmp_path)
    result = call("check-data", file, "-q")
    assert result.exit_code == 3
    assert "all masks hold only 0" not in result.stdout, "the error says so"
    [line] = result.stderr.splitlines()
    assert "all masks hold only 0" in line
    assert 'set data.confirmed = ["binary_masks"]' in line
    result = call("check-data", file, "-q", "--set", 'data.confirmed=["binary_masks"]')
    assert result.exit_code == 0, result.output
    assert "(confirmed)" in result.stdout
    (tmp_path / "classes.toml").write_text('names = ["background", "car"]\nids = [0, 255]\n')
    assert call("check-data", file, "-q").exit_code == 0


def test_a_run_ends_before_it_trains_and_says_why_on_a_rerun_too(tmp_path: Path) -> None:
    tree(tmp_path, binary, names=("background", "car"))
    file = experiment(tmp_path)
    for _ in range(2):
        result = call("run", file, "--work", tmp_path / "work", "-q")
        assert result.exit_code == 3
        assert len(result.stderr.splitlines()) == 1
        assert "binary_masks" in result.stderr
    assert not list((tmp_path / "work/artefacts").glob("*/*/COMMIT"))
    confirm = ("--set", 'data.confirmed=["binary_masks"]')
    result = call("run", file, "--work", tmp_path / "work", "--until", "manifest", *confirm)
    assert result.exit_code == 0, result.output
    assert "no mask has a pixel of: car" in result.stderr
    [made] = (tmp_path / "work/artefacts/manifest").glob("*/provenance.json")
    check = json.loads(made.read_bytes())["data_check"]
    assert check["values"][1]["value"] == "id 255"
    assert any("(confirmed)" in line for line in check["findings"])
    again = call("run", file, "--work", tmp_path / "work", "--until", "manifest", *confirm)
    assert "no work was done" in again.stdout


def test_the_sheet_shows_images_masks_and_legend(tmp_path: Path) -> None:
    tree(tmp_path, classes="palette = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]")
    for image in (tmp_path / "images").iterdir():  # grey images: every colour comes from the masks
        Image.fromarray(np.full((40, 60, 3), 128, np.uint8)).save(image)
    out = tmp_path / "sheet.png"
    result = call("check-data", experiment(tmp_path), "-q", "--out", out)
    assert (result.exit_code, f"wrote {out}" in result.stdout) == (0, True)
    sheet = np.array(Image.open(out))
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)):
        assert (sheet == colour).all(-1).sum() > 100  # the swatch
        over = [(128 * 64 + channel * 192) >> 8 for channel in colour]  # three quarters of the colour, over the image
        assert (sheet == over).all(-1).sum() > 1000


@pytest.mark.parametrize(("out", "message"), [("x.jpg", "does not end in .png"), ("no/x.png", "cannot be written")])
def test_wrong_places_for_the_sheet(tmp_path: Path, out: str, message: str) -> None:
    tree(tmp_path)
    result = call("check-data", experiment(tmp_path), "-q", "--out", tmp_path / out)
    assert (result.exit_code, message in result.stderr, result.stdout) == (2, True, "")


def test_unusable_images_are_counted_and_named(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "images/2.png").write_bytes(b"")
    result = call("check-data", experiment(tmp_path), "-q")
    assert result.exit_code == 3
    assert "images that cannot be used: 1, but data.max_bad allows 0; first: images/2.png: is an" in result.stderr
    kept = call("check-data", experiment(tmp_path, max_bad=1), "-q")
    assert (kept.exit_code, "unusable: 1 images: images/2.png: is an empty file" in kept.stdout) == (0, True)


def test_synthetic_scenes_have_no_finding(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text(experiment_toml(data=scenes(64, 128, fine=3, coarse=2, val=2)))
    assert call("check-data", tmp_path / "e.toml", "-q").exit_code == 0
    assert call("check-data", tmp_path / "e.toml", "-q", "--out", tmp_path / "x.png").exit_code == 2


def test_init_looks_at_the_masks(tmp_path: Path) -> None:
    root = tmp_path / "d"
    tree(root, binary, names=("background", "car"))
    result = call("init", "--source", "folder", "--root", root, "--out", tmp_path / "a.toml")
    assert result.exit_code == 0
    assert "doubt: all masks hold only 0" in result.stdout
    tree(root, lambda mask: mask + 1)
    result = call("init", "--source", "folder", "--root", root, "--out", tmp_path / "b.toml")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "write ids = [1, 2, 3, 4]" in result.stderr
    assert not (tmp_path / "b.toml").exists()


def test_init_takes_settings_of_the_data(tmp_path: Path) -> None:
    """The remedies of its errors can be followed."""
    root = tmp_path / "d"
    tree(root)
    for old in (root / "masks").iterdir():
        old.rename(old.with_name(f"{old.stem}_gt.png"))
    (root / "masks").rename(root / "truth")
    out = tmp_path / "e.toml"
    command = ("init", "--source", "folder", "--root", root, "--out", out)
    assert "set data.masks" in call(*command).stderr
    assert "set data.mask_name" in call(*command, "--set", "data.masks=truth").stderr
    assert not out.exists()
    result = call(*command, "--set", "data.masks=truth", "--set", "data.mask_name={stem}_gt.png")
    assert result.exit_code == 0, result.output
    data = load_experiment(out).data
    assert (data.masks, data.mask_name, data.root) == ("truth", "{stem}_gt.png", root.resolve())
    assert call("check-data", out, "-q").exit_code == 0
    for wrong in ("teacher.epochs=3", "data.root=x", "data.nothing=3", "masks", "data.max_bad=-1"):
        result = call(*command[:-1], tmp_path / "f.toml", "--set", wrong)
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), wrong


@pytest.mark.parametrize(
    ("images", "masks"), [("images/10k", "labels/sem_seg/masks"), ("JPEGImages", "SegmentationClass")]
)
def test_init_knows_the_folders_of_published_layouts(tmp_path: Path, images: str, masks: str) -> None:
    root = tmp_path / "d"
    tree(root)
    for old, new in (("images", images), ("masks", masks)):
        (root / old).rename(root / "moved")
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / "moved").rename(root / new)
    result = call("init", "--source", "folder", "--root", root, "--out", tmp_path / "e.toml")
    assert result.exit_code == 0, result.output
    data = load_experiment(tmp_path / "e.toml").data
    assert (data.images, data.masks) == (images, masks)
