"""A review session: decisions go to a journal before they count, so that a killed session loses none.

work/review/DIGEST/decisions.journal    one row per decision; DIGEST is that of the label set
work/review/DIGEST/cells.npz            pixels of each image by class and bin; made once, in the background
work/review/DIGEST/lock                 one session at a time
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autolabel.audit.cells import CellIndex
from autolabel.audit.queue import Ranked, rank
from autolabel.errors import DataError
from autolabel.formats.corrections import UNCHANGED, Correction, corrected, corrections_files
from autolabel.review.decisions import Decision, Region, apply_decision, check_decision, read_decision, region, standing
from autolabel.review.images import ReviewSet
from autolabel.store import Journal, digest_json, write_file, write_folder
from autolabel.user_files import read_user_file

JOURNAL, CELLS, LOCK = "decisions.journal", "cells.npz", "lock"
_MAPS_KEPT = 16
Floats = NDArray[np.float64]


def review_folder(work: Path, digest: str) -> Path:
    return work / "review" / digest[:16]


def cells_of(images: ReviewSet, folder: Path, *, check: Callable[[], object]) -> CellIndex:
    """The cells of a label set, counted once and kept. `check` may raise to end the count."""
    file = folder / CELLS
    if file.is_file():
        return CellIndex.from_bytes(read_user_file(file, DataError, "delete it; it is made again"), file)
    index = images.count_cells(check=check)
    write_file(file, index.to_bytes())
    return index


class _Kept(NamedTuple):
    """The map of an image after some decisions about it."""

    image: str
    decisions: list[Decision]
    labels: NDArray[np.uint8]


class Session:
    """All that a person has decided about a label set. Several threads may use it."""

    def __init__(
        self,
        images: ReviewSet,
        folder: Path,
        right: Floats,
        *,
        author: str,
        now: Callable[[], str] = lambda: datetime.now(UTC).isoformat(timespec="seconds"),
    ) -> None:
        """`right` (K, B) is the probability that a pixel of a class and bin is right. Raises DataError."""
        self.images, self.folder, self._right, self._author, self._now = images, folder, right, author, now
        self._lock = threading.Lock()
        self._kept: deque[_Kept] = deque(maxlen=_MAPS_KEPT)
        self._journal = Journal(folder / JOURNAL)
        self._open_journal()
        self.decisions = standing(self._journal.rows[1:], self._journal.path)
        self.ranked: Ranked = images.ranked_by_table()
        self.is_exact = False  # whether the ranking knows the errors by class

    def _open_journal(self) -> None:
        head = {"review": 1, "labels": self.images.labels.digest, "classes": list(self.images.classes.names)}
        if not self._journal.rows:
            self._journal.append([head])
        elif self._journal.rows[0] != head:
            what = "holds decisions about other labels"
            raise DataError(self._journal.path, what, "move it away, and review these labels anew")

    def refine(self, *, check: Callable[[], object] = lambda: None) -> None:
        """Count the cells, or read them where they were counted before, and rank by them."""
        ranked = rank(cells_of(self.images, self.folder, check=check), self._right)
        self.ranked, self.is_exact = ranked, True

    def decide(self, row: dict[str, Any]) -> Decision:
        """Check a decision, write it down, and count it. Raises DataError."""
        decision = read_decision({**row, "author": self._author, "time": self._now()}, "decision")
        if decision.image not in self.images.position:
            raise DataError("decision", f"{decision.image!r} is no image of the label set")
        image = self.images.manifest.image(decision.image)
        check_decision(decision, (image.height, image.width), self.images.classes.num_classes)
        with self._lock:
            self._journal.append([decision.model_dump()])
            self.decisions.append(decision)
        return decision

    def undo(self) -> Decision | None:
        """Take back the last decision that stands; None where there is none."""
        with self._lock:
            if not self.decisions:
                return None
            self._journal.append([{"op": "undo", "author": self._author, "time": self._now()}])
            return self.decisions.pop()

    def of_image(self, image_id: str) -> list[Decision]:
        with self._lock:
            return [decision for decision in self.decisions if decision.image == image_id]

    def states(self) -> dict[str, str]:
        """By image: "accepted", "rejected" or "edited"; images without a decision are not in it."""
        names = {"accept": "accepted", "reject": "rejected"}
        with self._lock:
            return {decision.image: names.get(decision.op, "edited") for decision in self.decisions}

    def current(self, image_id: str) -> NDArray[np.uint8]:
        """(H, W) train ids after all decisions about the image."""
        decisions, layers = self.of_image(image_id), self.images.maps(image_id).layers
        done, labels = self._longest_kept(image_id, decisions) or (0, layers.labels)
        for number, decision in enumerate(decisions[done:], done + 1):
            labels = apply_decision(layers, labels, decision)
            with self._lock:
                self._kept.append(_Kept(image_id, decisions[:number], labels))
        return labels

    def _longest_kept(self, image_id: str, decisions: list[Decision]) -> tuple[int, NDArray[np.uint8]] | None:
        """A map that is kept after the most of these decisions: neither a decision nor an undo begins anew."""
        with self._lock:
            found = [k for k in self._kept if k.image == image_id and decisions[: len(k.decisions)] == k.decisions]
        best = max(found, key=lambda kept: len(kept.decisions), default=None)
        return None if best is None else (len(best.decisions), best.labels)

    def region(self, image_id: str, x: int, y: int) -> Region:
        image = self.images.manifest.image(image_id)
        check_decision(Decision(op="region", image=image_id, x=x, y=y), (image.height, image.width), 1)
        return region(self.images.maps(image_id).layers, self.current(image_id), x, y)

    def corrections(self) -> Iterator[Correction]:
        """The pixels of each image that the decisions have changed."""
        for image_id in sorted(self.states()):
            before, after = self.images.maps(image_id).layers.labels, self.current(image_id)
            last = self.of_image(image_id)[-1]
            changed = Correction(
                image_id,
                corrected(before, after, keep_uncovered=False),
                last.author,
                last.time,
                self.images.manifest.image(image_id).sha256,
            )
            if changed.pixels:
                yield changed


def write_corrections(session: Session, out: Path) -> tuple[int, int]:
    """A folder as `autolabel corrections import` writes it; number of images and of pixels. Raises DataError."""
    if session.images.classes.num_classes > UNCHANGED:
        raise DataError(
            session.images.labels.path, f"has more than {UNCHANGED} classes", "corrections need a value more"
        )
    found = list(session.corrections())
    if not found:
        raise DataError(session.folder, "holds no decision that changes a pixel", "reject or change a region first")
    rows = [decision.model_dump() for decision in session.decisions]
    source = {"format": "review", "file": JOURNAL, "sha256": digest_json(rows)}
    files = corrections_files(found, session.images.classes.names, session.images.labels.digest, source)
    write_folder(out.absolute(), files)
    return len(found), sum(row.pixels for row in found)
