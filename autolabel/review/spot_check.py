"""A spot check: questions about single pixels, drawn by stratum, whose answers are kept for every later cut.

work/review/answers-DIGEST.journal    one row per answer; DIGEST is that of the codes
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from autolabel.audit.cells import CellIndex
from autolabel.audit.spot_check import SpotResult, allocate, estimate, strata_of
from autolabel.classes import IGNORE
from autolabel.errors import DataError
from autolabel.review.images import ReviewSet
from autolabel.review.pages import facts, photo_of
from autolabel.review.server import Routes, integer
from autolabel.store import Journal

DRAWN_RIGHT = 0.99  # expectation for pixels that a person drew


class Answer(BaseModel, extra="forbid", strict=True, frozen=True):
    image: str
    x: int
    y: int
    label: int  # train id that was asked about
    source: int  # bin; the number of bins: a person drew it
    answer: Literal["yes", "no", "unsure"]
    author: str = ""
    time: str = ""


class Question(NamedTuple):
    image: int  # position in the label set
    label: int
    source: int


def answers_file(work: Path, codes_digest: str) -> Path:
    return work / "review" / f"answers-{codes_digest[:16]}.journal"


def read_answers(rows: list[dict[str, Any]], where: object) -> list[Answer]:
    """The answers that stand; an undo takes back the last one. Raises DataError."""
    answers: list[Answer] = []
    for row in rows:
        if row.get("op") == "undo":
            answers = answers[:-1]
            continue
        try:
            answers.append(Answer.model_validate(row))
        except ValidationError as error:
            raise DataError(where, "holds a row that is no answer", "it is of another version; move it away") from error
    return answers


class SpotCheck:
    """Questions about a label set, and the figures that the answers give. Several threads may use it."""

    def __init__(
        self,
        images: ReviewSet,
        index: CellIndex,
        right: NDArray[np.float64],
        journal: Journal,
        *,
        author: str = "",
        now: Callable[[], str] = lambda: datetime.now(UTC).isoformat(timespec="seconds"),
    ) -> None:
        self.images, self.index, self._journal, self._author, self._now = images, index, journal, author, now
        self.right = np.hstack([right, np.full((len(right), 1), DRAWN_RIGHT)])
        self.pixels = index.totals()
        seen = self.pixels.copy()
        _, classes, bins, pixels = index.ignored()
        np.add.at(seen, (classes, bins), pixels)
        self.strata = strata_of(seen, self.right)
        self.answers = read_answers(journal.rows, journal.path)
        self._lock = threading.Lock()

    def result(self) -> SpotResult:
        asked, yes = np.zeros_like(self.pixels), np.zeros_like(self.pixels)
        for answer in self.answers:
            if answer.answer != "unsure" and self._is_of_these(answer):
                asked[answer.label, answer.source] += 1
                yes[answer.label, answer.source] += answer.answer == "yes"
        return estimate(self.pixels, self.right, asked, yes, self.strata, self.images.classes.names)

    def _is_of_these(self, answer: Answer) -> bool:
        labels, sources = self.pixels.shape
        return bool(0 <= answer.label < labels and 0 <= answer.source < sources)

    def questions(self, number: int) -> list[Question]:
        """Cells to ask about next, in random order; another start with the same answers draws the same ones."""
        rng = np.random.default_rng([int(self.images.labels.digest[:15], 16), len(self.answers)])
        asked = np.zeros(self.strata.number, np.int64)
        for answer in self.answers:
            if self._is_of_these(answer):
                asked[self.strata.of_cell[answer.label, answer.source]] += 1
        wanted = allocate(self.pixels, self.right, self.strata, asked, number)
        rows, classes, sources, pixels = self.index.labelled()
        stratum = self.strata.of_cell[classes, sources]
        found = []
        for s in np.flatnonzero(wanted):
            members = np.flatnonzero(stratum == s)
            parts = pixels[members] / pixels[members].sum()
            found += [
                Question(int(rows[i]), int(classes[i]), int(sources[i]))
                for i in rng.choice(members, wanted[s], p=parts)
            ]
        return [found[i] for i in rng.permutation(len(found))]

    def pixel(self, question: Question) -> tuple[int, int]:
        """Column and row of a pixel of the cell, drawn from all of them in the image."""
        maps = self.images.maps(self.images.ids[question.image])
        classes, bins = self.images.book.classes_and_bins(maps.codes)
        labels = maps.layers.labels
        own = labels == classes if maps.coarse is None else (labels == classes) & (labels != maps.coarse)
        source = np.where(own, bins, self.images.book.bins)
        places = np.flatnonzero((labels == question.label) & (labels != IGNORE) & (source == question.source))
        rng = np.random.default_rng([len(self.answers), question.image, question.label, question.source])
        y, x = divmod(int(places[int(rng.integers(len(places)))]), labels.shape[1])
        return x, y

    def answer(self, question: Question, x: int, y: int, text: str) -> None:
        """Write an answer down, and count it. Raises DataError."""
        row = {
            "image": self.images.ids[question.image],
            "x": x,
            "y": y,
            "label": question.label,
            "source": question.source,
            "answer": text,
            "author": self._author,
            "time": self._now(),
        }
        answers = read_answers([row], "answer")
        with self._lock:
            self._journal.append([row])
            self.answers += answers

    def undo(self) -> bool:
        """Take back the last answer; False where there is none."""
        with self._lock:
            if not self.answers:
                return False
            self._journal.append([{"op": "undo", "author": self._author, "time": self._now()}])
            self.answers.pop()
            return True


class SpotPage:
    """Answers of the server to the page of a spot check."""

    def __init__(self, check: SpotCheck, title: str, number: int) -> None:
        self._check, self._title, self._wanted = check, title, number
        self._asked: list[Question] = check.questions(number)
        self._place = 0
        self._turn = threading.Lock()
        self._shown = self._next()

    def routes(self) -> Routes:
        layer = partial(photo_of, self._check.images)
        return Routes(read={"state": self.state, "layer": layer}, write={"answer": self.answer, "undo": self.undo})

    def _next(self) -> dict[str, Any] | None:
        if self._place >= len(self._asked):
            return None
        question = self._asked[self._place]
        x, y = self._check.pixel(question)
        row = self._check.images.manifest.images[question.image]
        size = {"width": row.width, "height": row.height}
        return {"number": self._place, "n": question.image, "x": x, "y": y, "label": question.label, **size}

    def state(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"mode": "ask", **facts(self._check.images, self._title), **self._progress()}

    def _progress(self) -> dict[str, Any]:
        return {
            "question": self._shown,
            "answered": self._place,
            "wanted": len(self._asked),
            "result": self._check.result(),
        }

    def answer(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the answer to the question that is shown; another number is a late answer, and changes nothing."""
        with self._turn:
            shown = self._shown
            if shown is not None and integer(fields, "question") == shown["number"]:
                self._check.answer(self._asked[self._place], shown["x"], shown["y"], str(fields.get("answer")))
                self._place += 1
                self._shown = self._next()
            return self._progress()

    def undo(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Back to the question before, as far as this page has asked one."""
        with self._turn:
            if self._place and self._check.undo():
                self._place -= 1
                self._shown = self._next()
            return self._progress()
