"""Answers, questions and decisions in memory: what another cut, an unreadable image and a long review make of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autolabel.audit.cells import cell_index, image_cells
from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook
from autolabel.review import pages, session
from autolabel.review.decisions import layers_of
from autolabel.review.images import Maps
from autolabel.review.spot_check import SpotCheck
from autolabel.store import Journal

BOOK = Codebook(2)
RIGHT = np.full((2, BOOK.bins), 0.7)
CODES = [np.random.default_rng(n).integers(0, BOOK.num_codes, (12, 16)).astype(np.uint8) for n in range(5)]


class Images:
    """A label set in memory: teacher's classes, changed by `labels_of(classes, bins)`."""

    def __init__(self, labels_of: Any, coarse: np.ndarray | None = None) -> None:
        self.book, self.ids = BOOK, tuple(f"image {n}" for n in range(len(CODES)))
        self.classes = SimpleNamespace(names=("a", "b"), palette=((0, 0, 0), (1, 1, 1)), num_classes=2)
        self.labels, self.has_coarse = SimpleNamespace(digest="1" * 64, path="labels"), coarse is not None
        rows = [SimpleNamespace(width=16, height=12) for _ in self.ids]
        self.manifest = SimpleNamespace(images=rows, image=lambda _: rows[0])
        self.position = {image_id: n for n, image_id in enumerate(self.ids)}
        maps = [
            Maps(codes, layers_of(BOOK, codes, labels_of(*BOOK.classes_and_bins(codes)).astype(np.uint8)), coarse)
            for codes in CODES
        ]
        self.maps = lambda image_id: maps[self.position[image_id]]
        cells = [image_cells(BOOK, m.codes, m.layers.labels, coarse) for m in maps]
        self.index = cell_index(list(zip(self.ids, cells, strict=True)), 2, BOOK.bins)
        self.broken: set[str] = set()

    def by_shard(self, ids: Any) -> list[str]:
        return sorted({*ids} & self.position.keys())

    def image(self, image_id: str) -> np.ndarray:
        if image_id in self.broken:
            raise DataError(image_id, "is damaged")
        return np.zeros((12, 16, 3), np.uint8)

    def ranked_by_table(self) -> Any:
        return SimpleNamespace(order=np.array([3, 1, 4, 0, 2]), wrong=np.ones(5))

    def check(self, file: Path) -> SpotCheck:
        return SpotCheck(self, self.index, RIGHT, Journal(file))  # type: ignore[arg-type]


def test_answers_follow_their_pixels_to_another_cut(tmp_path: Path) -> None:
    """Pixels that are ignored or of another class now count no more; those that a polygon states now are drawn."""
    file, first = tmp_path / "answers.journal", Images(lambda classes, bins: classes)
    check = first.check(file)
    for question in check.questions(60):
        x, y = check.pixel(question)
        check.answer(question, x, y, "yes" if x >= 8 else "no")
    assert check.result()["answers"] == 60
    assert first.check(file).result() == check.result()
    fewer = np.zeros((12, 16), bool)
    fewer[:, :8] = True
    cut = Images(lambda classes, bins: np.where(fewer, 255, classes)).check(file).result()
    kept = sum(answer.x >= 8 for answer in check.answers)
    assert (cut["answers"], cut["accuracy"]) == (kept, pytest.approx(1))
    other = Images(lambda classes, bins: np.where(fewer, 1 - classes, classes)).check(file).result()
    assert other["answers"] == kept
    drawn = Images(lambda classes, bins: classes, np.zeros((12, 16), np.uint8)).check(file)
    counted = drawn._counted()
    assert (counted.sources[counted.classes == 0] == BOOK.bins).all()
    assert (counted.sources[counted.classes == 1] < BOOK.bins).all()


def test_an_answer_outside_of_the_image_counts_for_nothing(tmp_path: Path) -> None:
    images = Images(lambda classes, bins: classes)
    check = images.check(tmp_path / "answers.journal")
    check.answer(check.questions(1)[0], 99, 0, "no")
    assert images.check(tmp_path / "answers.journal").result()["answers"] == 0


def test_a_question_whose_image_is_unreadable_is_skipped(tmp_path: Path) -> None:
    """Each answer belongs to the pixel that was shown, and undo shows it again."""
    pytest.importorskip("bottle")
    from autolabel.review.spot_page import SpotPage

    images = Images(lambda classes, bins: classes)
    check = images.check(tmp_path / "answers.journal")
    page, shown = SpotPage(check, "tiny", 30), []
    images.broken = {"image 1", "image 3"}
    first = page.state({})["question"]
    while question := page.state({})["question"]:
        shown.append(question)
        assert page.answer({"question": question["number"], "answer": "no"})["answered"] == len(shown)
    state = page.state({})
    assert len(shown) + len(state["skipped"]) == 30
    assert 0 < len(state["skipped"]) == 30 - state["wanted"]
    assert all("is damaged" in line for line in state["skipped"])
    asked = [(answer.image, answer.x, answer.y, answer.label) for answer in check.answers]
    assert asked == [(images.ids[q["n"]], q["x"], q["y"], q["label"]) for q in shown]
    assert [page.undo({})["question"] for _ in shown] == shown[::-1]
    assert page.state({})["question"] == first


def session_of(folder: Path) -> session.Session:
    images = Images(lambda classes, bins: classes)
    return session.Session(images, folder, RIGHT, author="ada", now=str)  # type: ignore[arg-type]


def test_a_long_review_goes_on_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "review").mkdir()
    row = {"op": "class", "image": "image 0", "to": 1}
    last = {"op": "region", "image": "image 0", "x": 3, "y": 4, "to": 0}
    session_of(tmp_path / "review")._journal.append([*[row] * 1400, last])
    again, applied = session_of(tmp_path / "review"), []
    real = session.apply_decision
    monkeypatch.setattr(session, "apply_decision", lambda *args: applied.append(1) or real(*args))
    labels = again.current("image 0")
    assert (len(applied), labels[4, 3]) == (1401, 0)
    assert not (labels == 1).any()
    again.undo()
    again.current("image 0")
    again.decide(last)
    np.testing.assert_array_equal(again.current("image 0"), labels)
    assert len(applied) == 1402, "neither an undo nor a decision begins anew"
    again.undo()
    again.decide({"op": "reject", "image": "image 0"})
    assert (again.current("image 0") == 255).all()


def test_pages_of_open_images_skip_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The open list shrinks while it is worked through; each page begins after the last row of the one before."""
    monkeypatch.setattr(pages, "_ROWS", 2)
    (tmp_path / "review").mkdir()
    page = pages.ReviewPage(session_of(tmp_path / "review"), "tiny", tmp_path / "made")
    seen, fields, more = [], {"open": "1"}, True
    while more:
        found = page.queue(fields)
        for row in found["rows"]:
            seen.append(row["n"])
            page.decide({"n": row["n"], "op": "accept"})
        fields, more = {"open": "1", "after": str(seen[-1])}, found["more"]
    assert seen == [3, 1, 4, 0, 2]
    with pytest.raises(DataError, match="no image 9"):
        page.queue({"after": "9"})
