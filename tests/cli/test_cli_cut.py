"""`cut` on shards that are foreign or empty."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from autolabel.cli.main import cli
from autolabel.labels import png
from autolabel.labels.codebook import Codebook
from autolabel.labels.png import CODECS
from autolabel.labels.shards import write_shard
from autolabel.store import open_output

BOOK = Codebook(2)


def cut(*args: object) -> Result:
    result = CliRunner().invoke(cli, ["cut", *map(str, args), "-q"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def shard(file: Path, *ids: str, names: tuple[str, ...] = ("a", "b"), split: str = "train") -> Path:
    codes = np.zeros((3, 4), BOOK.dtype)
    file.write_bytes(write_shard([(image_id, codes) for image_id in ids], BOOK, class_names=names, split=split))
    return file


SET = {"labels.json", "classes.json", "legend.png", "labels/classes.json", "labels/labels.csv"}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("[!.]*") if path.is_file()}


def test_a_shard_without_images_gives_no_labels(tmp_path: Path) -> None:
    result = cut(shard(tmp_path / "codes-00000.h5"), "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["ignored_share"] == 0


def test_shards_that_do_not_belong_together(tmp_path: Path) -> None:
    shard(tmp_path / "codes-00000.h5", "x")
    shard(tmp_path / "codes-00001.h5", "x")
    assert "holds an image twice" in cut(tmp_path, "--out", tmp_path / "out").stderr
    shard(tmp_path / "codes-00001.h5", "y", names=("a", "c"))
    assert "other classes or bins" in cut(tmp_path, "--out", tmp_path / "out").stderr
    shard(tmp_path / "codes-00001.h5", "y", names=())
    assert cut(tmp_path, "--out", tmp_path / "out").exit_code == 3
    (tmp_path / "codes-00001.h5").unlink()
    (tmp_path / "codes-00001.h5").mkdir()
    result = cut(tmp_path, "--out", tmp_path / "out")
    assert (result.exit_code, "Is a directory" in result.stderr) == (3, True)
    assert not (tmp_path / "out").exists()


def index(folder: Path, *shards: tuple[str, str, str]) -> None:
    rows = [{"name": name, "split": split, "ids": [image_id]} for name, split, image_id in shards]
    (folder / "shards.json").write_text(json.dumps({"book": BOOK.to_dict(), "shards": rows}))


def test_the_index_says_which_shards_hold_images_to_label(tmp_path: Path) -> None:
    codes = tmp_path / "codes"
    codes.mkdir()
    shard(codes / "codes-00000.h5", "x")
    shard(codes / "val-00000.h5", "y")
    index(codes, ("codes-00000.h5", "val", "x"), ("val-00000.h5", "train", "y"))
    assert cut(codes, "--out", tmp_path / "out").exit_code == 0
    assert files(tmp_path / "out") == {*SET, "labels/y.png"}
    index(codes, ("codes-00000.h5", "val", "x"))
    assert "holds no codes of images to label" in cut(codes, "--out", tmp_path / "none").stderr


@pytest.mark.parametrize("name", ["../codes-00000.h5", "/etc/passwd", "", "a\0b", ".hidden"])
def test_an_index_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    shard(tmp_path / "codes-00000.h5", "x")
    (tmp_path / "codes").mkdir()
    index(tmp_path / "codes", (name, "train", "x"))
    result = cut(tmp_path / "codes", "--out", tmp_path / "out")
    assert (result.exit_code, "is no index of shards" in result.stderr) == (3, True), result.stderr
    (tmp_path / "codes" / "shards.json").write_text("[" * 100_000)
    assert cut(tmp_path / "codes", "--out", tmp_path / "out").exit_code == 3


def test_a_shard_says_its_split_and_its_name_says_nothing(tmp_path: Path) -> None:
    shard(tmp_path / "val-00000.h5", "x")
    shard(tmp_path / "codes-00000.h5", "y", split="val")
    assert cut(tmp_path, "--out", tmp_path / "out").exit_code == 0
    assert files(tmp_path / "out") == {*SET, "labels/x.png"}
    assert cut(tmp_path / "codes-00000.h5", "--out", tmp_path / "one").exit_code == 0, "a file by name is always cut"
    assert files(tmp_path / "one") == {*SET, "labels/y.png"}
    (tmp_path / "val-00000.h5").unlink()
    result = cut(tmp_path, "--out", tmp_path / "none")
    assert (result.exit_code, "holds no codes of images to label" in result.stderr) == (3, True)


def test_a_shard_of_an_earlier_version_does_not_say_its_split(tmp_path: Path) -> None:
    old = shard(tmp_path / "codes-00000.h5", "x", split="")
    result = cut(tmp_path, "--out", tmp_path / "out")
    assert (result.exit_code, "does not say whether its images are to be labelled" in result.stderr) == (3, True)
    assert cut(old, "--out", tmp_path / "out").exit_code == 0


def test_a_folder_without_an_index_is_cut_whole(tmp_path: Path) -> None:
    (tmp_path / "codes").mkdir()
    shard(tmp_path / "codes" / "mine.h5", "x")
    assert cut(tmp_path / "codes", "--out", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "labels" / "x.png").is_file()


def test_a_cut_that_was_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, out, whole = shard(tmp_path / "codes-00000.h5", "x", "y"), tmp_path / "out", tmp_path / "whole"
    assert cut(codes, "--out", whole).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr("autolabel.cli.cut.INDEX", "no such folder\0/labels.json")
        assert CliRunner().invoke(cli, ["cut", str(codes), "--out", str(out), "-q"]).exit_code != 0
    assert files(out) == {*SET, "unfinished.journal", "labels/x.png", "labels/y.png"} - {"labels.json"}
    (out / ".tmp-0123").touch()
    other = shard(tmp_path / "other.h5", "x", "z")
    assert "other settings or inputs" in cut(other, "--out", out).stderr
    assert "other settings or inputs" in cut(codes, "--out", out, "--threshold", 0.6).stderr
    assert cut(codes, "--out", out).exit_code == 0
    contents = [{name: (folder / name).read_bytes() for name in files(folder)} for folder in (out, whole)]
    assert contents[0] == contents[1]
    assert contents[0].keys() == {*SET, "labels/x.png", "labels/y.png"}
    assert "not an empty folder" in cut(codes, "--out", out, "--threshold", 0.6).stderr, "a finished one is left alone"
    assert cut(codes, "--out", out).exit_code == 0, "unless it is the same work"
    assert {name: (out / name).read_bytes() for name in files(out)} == contents[1]


def test_codecs_differ_in_bytes_only(tmp_path: Path) -> None:
    codes = shard(tmp_path / "codes-00000.h5", "x", "y")
    for codec in CODECS:
        assert cut(codes, "--out", tmp_path / codec, "--codec", codec).exit_code == 0
        for image_id in "xy":
            labels = png.decode((tmp_path / codec / "labels" / f"{image_id}.png").read_bytes())
            np.testing.assert_array_equal(labels, np.full((3, 4), 255))
    result = cut(codes, "--out", tmp_path / "other", "--codec", "webp")
    assert (result.exit_code, "no codec is named 'webp'" in result.stderr) == (2, True)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--threshold", 0.55), "autolabel: --threshold: 0.55 is no bin edge"),
        (("--class-threshold", "z=0.5"), "autolabel: --class-threshold: no class is named 'z'"),
        (("--codec", "webp"), "autolabel: --codec: no codec is named 'webp'"),
        (("--backend", "spark"), "autolabel: --backend: no back-end is named 'spark'"),
    ],
)
def test_a_wrong_setting_is_named_as_the_option(tmp_path: Path, options: tuple[object, ...], says: str) -> None:
    result = cut(shard(tmp_path / "codes-00000.h5", "x"), "--out", tmp_path / "out", *options)
    assert (result.exit_code, result.stderr.startswith(says)) == (2, True), result.stderr
    assert "label." not in result.stderr
    assert "infer." not in result.stderr


@pytest.mark.slow
def test_back_ends_give_the_same_bytes(tmp_path: Path) -> None:
    for number in range(3):
        shard(tmp_path / f"codes-{number:05}.h5", f"x{number}", f"y{number}")
    contents = []
    for backend in ("threads", "loky"):
        out = tmp_path / backend
        assert cut(tmp_path, "--out", out, "--backend", backend, "--jobs", 2).exit_code == 0
        contents.append({name: (out / name).read_bytes() for name in files(out)})
    assert contents[0] == contents[1]
    assert len(contents[0]) == len(SET) + 6
    result = cut(tmp_path, "--out", tmp_path / "other", "--backend", "spark")
    assert (result.exit_code, "no back-end is named 'spark'" in result.stderr) == (2, True)


def test_nothing_is_written_where_a_later_shard_is_damaged(tmp_path: Path) -> None:
    """One bit in the codes of the last shard: found before the first label is written."""
    codes = np.random.default_rng(0).integers(0, BOOK.num_codes, (64, 64)).astype(BOOK.dtype)
    data = write_shard([("x", codes)], BOOK, class_names=("a", "b"), split="train")
    (tmp_path / "codes-00000.h5").write_bytes(data)
    damaged = bytearray(write_shard([("y", codes)], BOOK, class_names=("a", "b"), split="train"))
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "codes-00001.h5").write_bytes(damaged)
    result = cut(tmp_path, "--out", tmp_path / "out")
    assert (result.exit_code, "codes-00001.h5: damaged" in result.stderr) == (3, True)
    assert not (tmp_path / "out").exists()


def test_a_shard_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = shard(tmp_path / "codes-00000.h5", "x")
    real = open_output

    def change_first(*args: object, **options: object) -> object:
        shard(codes, "y")
        return real(*args, **options)

    monkeypatch.setattr("autolabel.cli.cut.open_output", change_first)
    result = cut(codes, "--out", tmp_path / "out")
    assert (result.exit_code, "changed while it was being cut" in result.stderr) == (3, True)
    assert not files(tmp_path / "out") & {"labels/x.png", "labels/y.png", "labels.json"}
