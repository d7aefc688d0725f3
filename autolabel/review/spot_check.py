"""A spot check: questions about single pixels, drawn by stratum, whose answers are kept for every later cut.

work/review/answers-DIGEST.journal    one row per answer, and one per cut asked about; DIGEST is that of the codes

After another cut an answer counts where its pixel still has the label that was asked about.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from autolabel.audit.cells import CellIndex, sources_of
from autolabel.audit.spot_check import Answers, Cut, SpotResult, Strata, allocate, answer_weights, estimate, strata_of
from autolabel.classes import IGNORE
from autolabel.errors import DataError
from autolabel.review.images import ReviewSet
from autolabel.store import Journal, digest_json

_M = TypeVar("_M", bound=BaseModel)
DRAWN_RIGHT = 0.99  # expectation for pixels that a person drew


class Answer(BaseModel, extra="forbid", strict=True, frozen=True):
    image: str
    x: int
    y: int
    label: int  # train id that was asked about
    source: int  # bin; the number of bins: a person drew it
    answer: Literal["yes", "no", "unsure"]
    cut: str = ""  # digest of the row of the cut that was asked about
    author: str = ""
    time: str = ""


class CutRow(BaseModel, extra="forbid", strict=True, frozen=True):
    """Pixels and strata (K, B + 1) that questions were drawn from: how likely each question was follows from them."""

    op: Literal["cut"] = "cut"
    pixels: list[list[Annotated[int, Field(ge=0, lt=2**53)]]]
    strata: list[list[Annotated[int, Field(ge=0, lt=2**16)]]]

    def cut(self, shape: tuple[int, ...], where: object) -> Cut:
        """Raises DataError for tables of another shape."""
        tables = self.pixels, self.strata
        if any(len(rows) != shape[0] or {*map(len, rows)} != {shape[1]} for rows in tables):
            raise DataError(where, "holds a cut of other classes or bins", "it is of another version; move it away")
        of_cell = np.array(self.strata)
        return Cut(np.array(self.pixels), Strata(of_cell, int(of_cell.max()) + 1))


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
        elif row.get("op") != "cut":
            answers.append(_checked(Answer, row, where))
    return answers


def read_cuts(rows: list[dict[str, Any]], shape: tuple[int, ...], where: object) -> dict[str, Cut]:
    """The cuts that were asked about, by the digest of their rows. Raises DataError."""
    found = [row for row in rows if row.get("op") == "cut"]
    return {digest_json(row)[:16]: _checked(CutRow, row, where).cut(shape, where) for row in found}


def _checked(model: type[_M], row: dict[str, Any], where: object) -> _M:
    try:
        return model.model_validate(row)
    except ValidationError as error:
        raise DataError(where, "holds a row that is no answer", "it is of another version; move it away") from error


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
        self._sources = self._present_sources(self.answers)
        self._cuts = read_cuts(journal.rows, self.pixels.shape, journal.path)
        row = CutRow(pixels=self.pixels.tolist(), strata=self.strata.of_cell.tolist()).model_dump()
        self._cut_row, self._cut = row, digest_json(row)[:16]
        self._lock = threading.Lock()

    def _present_sources(self, answers: list[Answer]) -> list[int | None]:
        """The source that each answer's pixel has in this label set; None where it has another label or none."""
        by_image: dict[str, list[int]] = {}
        for number, answer in enumerate(answers):
            if self._is_of_these(answer):
                by_image.setdefault(answer.image, []).append(number)
        found: list[int | None] = [None] * len(answers)
        for image_id in self.images.by_shard(by_image):
            maps = self.images.maps(image_id)
            labels = maps.layers.labels
            sources = sources_of(self.images.book, maps.codes, labels, maps.coarse)
            for number in by_image[image_id]:
                x, y = answers[number].x, answers[number].y
                is_inside = 0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]
                if is_inside and labels[y, x] == answers[number].label:
                    found[number] = int(sources[y, x])
        return found

    def result(self) -> SpotResult:
        return estimate(self.pixels, self.right, self._counted(), self.strata, self.images.classes.names)

    def _counted(self) -> Answers:
        """The decided answers whose pixels still have the label; all decided ones say how densely was asked."""
        with self._lock:
            rows = list(zip(self.answers, self._sources, strict=True))
        decided = [(a, source) for a, source in rows if a.answer != "unsure" and self._is_of_these(a)]
        keys = list(self._cuts | {self._cut: None})
        cuts = [self._cuts.get(key) or Cut(self.pixels, self.strata) for key in keys]
        width, present = self.pixels.shape[1], keys.index(self._cut)
        # An answer that names no known cut counts as one about this cut.
        own = np.array([keys.index(a.cut) if a.cut in keys else present for a, _ in decided], np.int64)
        then = np.array([a.label * width + a.source for a, _ in decided], np.int64)
        now = np.array([a.label * width + (a.source if s is None else s) for a, s in decided], np.int64)
        yes = np.array([a.answer == "yes" for a, _ in decided], bool)
        weights = answer_weights(cuts, present, own, then, now)
        return Answers(*np.divmod(now, width), yes, weights).of(np.array([s is not None for _, s in decided], bool))

    def _is_of_these(self, answer: Answer) -> bool:
        labels, sources = self.pixels.shape
        return bool(0 <= answer.label < labels and 0 <= answer.source < sources)

    def questions(self, number: int) -> list[Question]:
        """Cells to ask about next, in random order; another start with the same answers draws the same ones."""
        rng = np.random.default_rng([int(self.images.labels.digest[:15], 16), len(self.answers)])
        asked = np.zeros(self.strata.number, np.int64)
        for answer, source in zip(self.answers, self._sources, strict=True):
            if source is not None:
                asked[self.strata.of_cell[answer.label, source]] += 1
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
        labels = maps.layers.labels
        source = sources_of(self.images.book, maps.codes, labels, maps.coarse)
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
            "cut": self._cut,
            "author": self._author,
            "time": self._now(),
        }
        answers = read_answers([row], "answer")
        with self._lock:
            first = [] if self._cut in self._cuts else [self._cut_row]
            self._journal.append([*first, row])
            self._cuts.setdefault(self._cut, Cut(self.pixels, self.strata))
            self.answers += answers
            self._sources.append(question.source)

    def undo(self) -> bool:
        """Take back the last answer; False where there is none."""
        with self._lock:
            if not self.answers:
                return False
            self._journal.append([{"op": "undo", "author": self._author, "time": self._now()}])
            self.answers.pop()
            self._sources.pop()
            return True
