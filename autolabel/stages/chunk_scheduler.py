"""Chunks of images that the ranks of a job make: each handed out once, each in a journal as soon as it is done."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from autolabel.distributed import Counter, ProcessGroup
from autolabel.errors import StoreError
from autolabel.signals import StopFlag
from autolabel.store import Draft

if TYPE_CHECKING:
    from autolabel.data.schema import ImageRow

_JOURNAL = "shards"
# Of a journal. "name" is that of the chunk's file, "bytes" its size, "bad" lists images that could not be used; "try":
# of several rows the last one counts.
Row = dict[str, Any]


class Chunk(NamedTuple):
    """Also the unit of resume: a shard, a journal row."""

    name: str  # of its file
    split: str
    images: Sequence[ImageRow]


class ChunkScheduler:
    """What is to be done of a step's chunks, who does it, and what has been done.

    A rank takes the next chunk when it is ready for one, by a counter that all of them share: the fast take more, none
    waits for another, and no chunk is made twice. Each rank has a journal of its own. Rank 0 reads all that lie in the
    draft, whatever number of ranks wrote them, before the work (what is in one is not handed out) and after it. A chunk
    with images that could not be used is tried again: they may have been repaired.
    Making one and `all_rows` are collectives.
    """

    def __init__(self, chunks: Sequence[Chunk], draft: Draft, world: ProcessGroup) -> None:
        self.chunks, self.world, self._draft = chunks, world, draft
        rows = self._read() if world.is_rank0 else {}
        sizes = draft.sizes() if world.is_rank0 else {}
        todo = [index for index, chunk in enumerate(chunks) if not _is_done(rows.get(chunk.name), sizes)]
        attempt = 1 + max((_attempt(row) for row in rows.values()), default=0)
        told = world.broadcast_bytes(json.dumps({"job": secrets.token_hex(8), "todo": todo, "try": attempt}).encode())
        assert told is not None
        document = json.loads(told)
        self.todo: list[int] = document["todo"]
        self._attempt: int = document["try"]
        self._job = document["job"]  # the counters of this piece of work are new ones
        self._next = self.counter("next")
        self._num_bad = self.counter("bad")
        self.bad: list[dict[str, str]] = []  # that this rank knows of
        self.num_bad = 0
        self._journal = draft.journal(_JOURNAL + self.suffix)

    @property
    def suffix(self) -> str:
        """Of this rank's own files, journal and logs."""
        return "" if self.world.size == 1 else f"-{self.world.rank:05}"

    @property
    def num_images(self) -> tuple[int, int]:
        """(done before this job began, in all)"""
        total = sum(len(chunk.images) for chunk in self.chunks)
        return total - sum(len(self.chunks[index].images) for index in self.todo), total

    def counter(self, name: str) -> Counter:
        return self.world.counter(f"{self._job}/{name}")

    def take(self) -> Iterator[tuple[int, Sequence[ImageRow]]]:
        """(index, images) of the chunks that are this rank's, taken one by one as they are asked for."""
        while (number := self._next.add(1)) <= len(self.todo):
            index = self.todo[number - 1]
            yield index, self.chunks[index].images

    def done(self, row: Row) -> None:
        """The chunk's files are written: nobody will make it again."""
        self._journal.append([{**row, "try": self._attempt}])
        self.bad += row["bad"]
        self.num_bad = self._num_bad.add(len(row["bad"]))  # of all ranks

    def all_rows(self, stop: StopFlag, *, meanwhile: Callable[[], None] = lambda: None) -> list[Row]:
        """Waits until all ranks are done; rank 0 gets a row a chunk, in order, the others nothing. Raises Stopped."""
        self.world.barrier(stop, meanwhile=meanwhile)
        if not self.world.is_rank0:
            return []
        rows = self._read()
        self.bad = _bad(rows)
        self.num_bad = len(self.bad)
        missing = [chunk.name for chunk in self.chunks if chunk.name not in rows]
        if missing:
            what = f"the journals of {self.world.size} processes lack {len(missing)} chunks, the first {missing[0]!r}"
            raise StoreError(self._draft.path, what, "run again; every machine must see the same work folder")
        return [rows[chunk.name] for chunk in self.chunks]

    def _read(self) -> dict[str, Row]:
        """By name of chunk. Nobody may be writing."""
        names = [name for name in self._draft.journal_names() if name.split("-")[0] == _JOURNAL]
        rows = [row for name in names for row in self._draft.journal(name).rows]
        return {row["name"]: row for row in sorted(rows, key=_attempt)}


def _is_done(row: Row | None, sizes: Mapping[str, int]) -> bool:
    """Its bytes are looked at once more when all is committed; here it must be quick."""
    return row is not None and not row["bad"] and sizes.get(row["name"]) == row.get("bytes", -1)


def _attempt(row: Row) -> int:
    number: int = row.get("try", 0)
    return number


def _bad(rows: Mapping[str, Row]) -> list[dict[str, str]]:
    return [item for row in rows.values() for item in row["bad"]]
