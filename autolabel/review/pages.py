"""The answers of the server to the review page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autolabel.audit.queue import Ranked
from autolabel.classes import IGNORE
from autolabel.errors import DataError
from autolabel.review import layers
from autolabel.review.images import ReviewSet
from autolabel.review.server import Reply, Routes, integer
from autolabel.review.session import Session, write_corrections

_ROWS = 100


def facts(images: ReviewSet, title: str) -> dict[str, Any]:
    """Facts about the label set that every page shows."""
    return {
        "title": title,
        "classes": [
            {"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour)}
            for name, colour in zip(images.classes.names, images.classes.palette, strict=True)
        ],
        "images": len(images.ids),
        "second": bool(images.book.second_below),
        "coarse": images.has_coarse,
    }


def image_of(images: ReviewSet, fields: Mapping[str, Any]) -> str:
    """The id of the image whose number is among the fields. Raises DataError."""
    n = integer(fields, "n")
    if n >= len(images.ids):
        raise DataError("request", f"there is no image {n}")
    return images.ids[n]


def photo_of(images: ReviewSet, fields: Mapping[str, Any]) -> Reply:
    return Reply("image/jpeg", layers.photo(images.image(image_of(images, fields))))


class ReviewPage:
    """Answers of the server to the page of a review."""

    def __init__(self, session: Session, title: str, out: Path) -> None:
        """`out`: the folder that "write corrections" makes; a number is added where it is there."""
        self.session, self.images, self._title, self._out = session, session.images, title, out

    def routes(self) -> Routes:
        return Routes(
            read={
                "state": self.state,
                "queue": self.queue,
                "image": self.image,
                "pixel": self.pixel,
                "region": self.region,
                "layer": self.layer,
            },
            write={"decide": self.decide, "undo": self.undo, "write": self.write},
        )

    def state(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"mode": "review", **facts(self.images, self._title), **self._progress()}

    def _progress(self) -> dict[str, Any]:
        states = list(self.session.states().values())
        counts = {name: states.count(name) for name in ("accepted", "rejected", "edited")}
        return {"decisions": len(self.session.decisions), **counts, "exact": self.session.is_exact}

    def queue(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The first rows in the order of the ranking, or those that follow the image `after`.

        `text` and `open` choose those whose name holds a text, and those without a decision. Decisions made since do
        not move the place, as they would move a number of rows.
        """
        text = str(fields.get("text", "")).casefold()
        states, ranked = self.session.states(), self.session.ranked
        is_open = fields.get("open") == "1"
        chosen = [
            n
            for n in ranked.order.tolist()
            if text in self.images.ids[n].casefold() and not (is_open and self.images.ids[n] in states)
        ]
        following = self._following(ranked, fields) if "after" in fields else set(chosen)
        left = [n for n in chosen if n in following]
        rows = [self._row(n, states) for n in left[:_ROWS]]
        return {"rows": rows, "total": len(chosen), "more": len(left) > _ROWS, "exact": self.session.is_exact}

    def _following(self, ranked: Ranked, fields: Mapping[str, Any]) -> set[int]:
        after, order = integer(fields, "after"), ranked.order.tolist()
        if after not in order:
            raise DataError("request", f"there is no image {after}")
        return set(order[order.index(after) + 1 :])

    def _row(self, n: int, states: Mapping[str, str]) -> dict[str, Any]:
        image_id, row = self.images.ids[n], self.images.manifest.images[n]
        wrong = float(self.session.ranked.wrong[n])
        return {"n": n, "id": image_id, "state": states.get(image_id, ""), "wrong": wrong / (row.width * row.height)}

    def _id(self, fields: Mapping[str, Any]) -> str:
        return image_of(self.images, fields)

    def image(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Size, classes and decisions of one image."""
        image_id = self._id(fields)
        row = self.images.manifest.image(image_id)
        current = self.session.current(image_id)
        counts = np.bincount(current.ravel(), minlength=256)
        return {
            "id": image_id,
            "n": self.images.position[image_id],
            "width": row.width,
            "height": row.height,
            "state": self.session.states().get(image_id, ""),
            "decisions": len(self.session.of_image(image_id)),
            "fractions": (counts[: self.images.classes.num_classes] / current.size).tolist(),
            "ignored": float(counts[IGNORE] / current.size),
            "drawn": self.images.maps(image_id).coarse is not None,
        }

    def _pixel(self, fields: Mapping[str, Any]) -> tuple[str, int, int]:
        image_id, x, y = self._id(fields), integer(fields, "x"), integer(fields, "y")
        row = self.images.manifest.image(image_id)
        if x >= row.width or y >= row.height:
            raise DataError("request", f"{x},{y} lies outside of the image")
        return image_id, x, y

    def pixel(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Everything about one pixel."""
        image_id, x, y = self._pixel(fields)
        maps, book = self.images.maps(image_id), self.images.book
        classes, bins = book.classes_and_bins(maps.codes[y : y + 1, x : x + 1])
        limits = [0.0, *book.edges, 1.0]
        return {
            "label": int(self.session.current(image_id)[y, x]),
            "teacher": int(classes.item()),
            "second": int(maps.layers.second[y, x]),
            "coarse": IGNORE if maps.coarse is None else int(maps.coarse[y, x]),
            "above": limits[bins.item()],
            "at_most": limits[bins.item() + 1],
        }

    def region(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        found = self.session.region(*self._pixel(fields))
        pixels = int(np.count_nonzero(found.mask))
        return {"label": found.label, "teacher": found.teacher, "second": found.second, "pixels": pixels}

    def layer(self, fields: Mapping[str, Any]) -> Reply:
        makers = {"image": self._photo, "label": self._label, "coarse": self._coarse}
        makers |= {"confidence": self._confidence, "region": self._region}
        name = str(fields.get("name"))
        if name not in makers:
            raise DataError("request", f"there is no layer {name!r}")
        return makers[name](fields)

    def _photo(self, fields: Mapping[str, Any]) -> Reply:
        return photo_of(self.images, fields)

    def _label(self, fields: Mapping[str, Any]) -> Reply:
        labels = self.session.current(self._id(fields))
        return Reply("image/png", layers.class_layer(labels, self.images.classes.palette))

    def _coarse(self, fields: Mapping[str, Any]) -> Reply:
        maps = self.images.maps(self._id(fields))
        coarse = np.full_like(maps.layers.labels, IGNORE) if maps.coarse is None else maps.coarse
        return Reply("image/png", layers.class_layer(coarse, self.images.classes.palette))

    def _confidence(self, fields: Mapping[str, Any]) -> Reply:
        classes, bins = self.images.book.classes_and_bins(self.images.maps(self._id(fields)).codes)
        return Reply("image/png", layers.confidence_layer(bins, self.images.book.bins, classes != IGNORE))

    def _region(self, fields: Mapping[str, Any]) -> Reply:
        return Reply("image/png", layers.region_layer(self.session.region(*self._pixel(fields)).mask))

    def decide(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a decision, and return what it changed."""
        row = {key: value for key, value in fields.items() if key in ("op", "x", "y", "to")}
        image_id = self._id(fields)
        self.session.decide({"image": image_id, **row})
        return {**self.image({"n": str(self.images.position[image_id])}), **self._progress()}

    def undo(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        taken = self.session.undo()
        n = None if taken is None else self.images.position[taken.image]
        return {"n": n, **self._progress()}

    def write(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Write the corrections to a new folder."""
        out, number = self._out, 2
        while out.exists() or out.is_symlink():
            out = self._out.with_name(f"{self._out.name}-{number}")
            number += 1
        changed, pixels = write_corrections(self.session, out)
        return {"out": str(out), "images": changed, "pixels": pixels}
