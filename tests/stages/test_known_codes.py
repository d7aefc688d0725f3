"""Codes of earlier runs are found wherever they are intact, and those of another environment are spoken of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autolabel.artifacts import ShardEntry, write_shard_index
from autolabel.data.schema import ImageRow
from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import write_shard
from autolabel.stages.chunk_scheduler import Chunk
from autolabel.stages.infer import _say_known
from autolabel.stages.known_codes import KnownCodes, find_known_codes
from autolabel.store import Artefact, open_draft, set_aside

BOOK, NAMES = Codebook(2), ("lawn", "path")
HERE = {"versions": {"torch": "2.14"}, "device": "cpu A"}
ROWS = [ImageRow(name, "train", "", "source", name, name * 64, 1, 4, 3) for name in "abcd"]
DOCUMENT = {"stage": "infer", "settings": {"chunk": 2}, "inputs": {"data": {}, "model": "m"}}


def infer(folder: Path, key: str, environment: dict[str, Any], started: float = 1.0) -> Artefact:
    """Two shards of two images each; the codes of an image are its place in ROWS."""
    draft, entries = open_draft(folder, key * 64), []
    for number in (0, 2):
        rows = ROWS[number : number + 2]
        codes = [(row.id, np.full((3, 4), ROWS.index(row), BOOK.dtype)) for row in rows]
        name = f"codes-{number:05}.h5"
        draft.write(name, write_shard(codes, BOOK, class_names=NAMES, split="train"))
        entries.append(ShardEntry(name, "train", tuple(row.id for row in rows), tuple(row.sha256 for row in rows)))
    write_shard_index(draft, BOOK, entries)
    return draft.commit(meta={}, provenance={"key": DOCUMENT, "environments": [environment], "started": started})


def known(folder: Path) -> KnownCodes:
    draft = open_draft(folder, "9" * 64)
    draft.set_environments([HERE], DOCUMENT)
    return find_known_codes(draft, DOCUMENT, BOOK, NAMES)


def computed(folder: Path) -> list[str]:
    chunk = Chunk("codes-00000.h5", "train", ROWS)
    found = known(folder).of(chunk)
    for id_, codes in found.merged(ROWS, []):
        assert (codes == "abcd".index(id_)).all()
    return [row.id for row in found.unknown]


def damage(artefact: Artefact) -> None:
    file = artefact.file("codes-00000.h5")
    file.write_bytes(file.read_bytes()[:-1] + b"x")


def test_intact_shards_of_an_artefact_set_aside_are_taken(tmp_path: Path) -> None:
    made = infer(tmp_path / "infer", "1", HERE)
    damage(made)
    set_aside(made.path)
    assert computed(tmp_path / "infer") == ["a", "b"]


def test_a_folder_set_aside_that_does_not_open_is_passed_over(tmp_path: Path) -> None:
    made = infer(tmp_path / "infer", "1", HERE)
    (made.path / "COMMIT").write_bytes(b"nonsense")
    set_aside(made.path)
    assert computed(tmp_path / "infer") == list("abcd")


def test_a_damaged_shard_does_not_hide_an_older_intact_one(tmp_path: Path) -> None:
    infer(tmp_path / "infer", "1", HERE, started=1.0)
    newer = infer(tmp_path / "infer", "2", HERE, started=2.0)
    damage(newer)
    set_aside(newer.path)
    assert computed(tmp_path / "infer") == []


def test_codes_of_another_environment_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    infer(tmp_path / "infer", "1", {**HERE, "versions": {"torch": "2.13"}})
    new = ImageRow("e", "train", "", "source", "e", "e" * 64, 1, 4, 3)
    shared: Any = SimpleNamespace(rows_todo=lambda: iter([*ROWS, new]))
    ctx: Any = SimpleNamespace(node="infer", quiet=False, world=SimpleNamespace(is_rank0=True))
    _say_known(ctx, shared, known(tmp_path / "infer"))
    said = "infer: 4 images have codes of another environment (torch 2.13 -> 2.14): computed again\n"
    assert capsys.readouterr().err == said
    infer(tmp_path / "infer", "2", HERE)
    _say_known(ctx, shared, known(tmp_path / "infer"))
    assert capsys.readouterr().err == "infer: 4 images are known from earlier runs, 1 are computed\n"


def test_codes_of_another_number_format_are_not_known(tmp_path: Path) -> None:
    """Chosen by `infer.precision = "auto"`: the settings, and with them the key documents, are the same."""
    infer(tmp_path / "infer", "1", {**HERE, "precision": "bf16"})
    draft = open_draft(tmp_path / "infer", "9" * 64)
    for precision, unknown in (("fp32", 4), ("bf16", 0)):
        draft.set_environments([{**HERE, "precision": precision}], DOCUMENT)
        assert len(ROWS) - find_known_codes(draft, DOCUMENT, BOOK, NAMES).count(ROWS) == unknown
