"""The page of a spot check: one question after another, and the figures so far."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from autolabel.errors import AutolabelError
from autolabel.review.pages import facts, photo_of
from autolabel.review.server import Routes, integer
from autolabel.review.spot_check import Question, SpotCheck


class _Shown(NamedTuple):
    """A question that is on the page, or was."""

    number: int
    question: Question
    x: int
    y: int


class SpotPage:
    """Answers of the server to the page of a spot check."""

    def __init__(self, check: SpotCheck, title: str, number: int) -> None:
        self._check, self._title = check, title
        self._asked: list[Question] = check.questions(number)
        self._done: list[_Shown] = []
        self._unreadable: dict[int, str] = {}  # number of a question -> why it was skipped
        self._turn = threading.Lock()
        self._shown = self._next(0)

    def routes(self) -> Routes:
        layer = partial(photo_of, self._check.images)
        return Routes(read={"state": self.state, "layer": layer}, write={"answer": self.answer, "undo": self.undo})

    def _next(self, first: int) -> _Shown | None:
        """The next question from a number on whose image can be read; the others are skipped, and reported."""
        for number in range(first, len(self._asked)):
            question = self._asked[number]
            try:
                self._check.images.image(self._check.images.ids[question.image])
                return _Shown(number, question, *self._check.pixel(question))
            except AutolabelError as error:
                self._unreadable[number] = str(error)
        return None

    def state(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"mode": "ask", **facts(self._check.images, self._title), **self._progress()}

    def _progress(self) -> dict[str, Any]:
        return {
            "question": None if self._shown is None else self._row(self._shown),
            "answered": len(self._done),
            "wanted": len(self._asked) - len(self._unreadable),
            "skipped": list(self._unreadable.values()),
            "result": self._check.result(),
        }

    def _row(self, shown: _Shown) -> dict[str, Any]:
        n = shown.question.image
        row = self._check.images.manifest.images[n]
        place = {"number": shown.number, "n": n, "x": shown.x, "y": shown.y}
        return {**place, "label": shown.question.label, "width": row.width, "height": row.height}

    def answer(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the answer to the question that is shown; another number is a late answer, and changes nothing."""
        with self._turn:
            shown = self._shown
            if shown is not None and integer(fields, "question") == shown.number:
                self._check.answer(shown.question, shown.x, shown.y, str(fields.get("answer")))
                self._done.append(shown)
                self._shown = self._next(shown.number + 1)
            return self._progress()

    def undo(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Back to the question before, as far as this page has asked one."""
        with self._turn:
            if self._done and self._check.undo():
                self._shown = self._done.pop()
            return self._progress()
