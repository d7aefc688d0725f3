"""`cut` on shards that are foreign or empty."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from autolabel.cli.main import cli
from autolabel.labels.codes import CodeBook
from autolabel.labels.shards import write_shard

BOOK = CodeBook(2)


def cut(*args: object) -> Result:
    result = CliRunner().invoke(cli, ["cut", *map(str, args), "-q"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def shard(file: Path, *ids: str, names: tuple[str, ...] = ("a", "b")) -> Path:
    codes = np.zeros((3, 4), BOOK.dtype)
    file.write_bytes(write_shard([(image_id, codes) for image_id in ids], BOOK, class_names=names))
    return file


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
