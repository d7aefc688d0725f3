"""Chunks of images that the ranks of a job make: each handed out once, each in a journal as soon as it is done."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypedDict, cast

from autolabel.artifacts import QuarantinedImage
from autolabel.distributed import Counter, ProcessGroup
from autolabel.errors import StoreError
from autolabel.signals import StopFlag
from autolabel.stages.known_codes import JOURNAL
from autolabel.store import Draft, sha256_bytes

if TYPE_CHECKING:
    from autolabel.data.schema import ImageRow


def split_rows(rows: Sequence[ImageRow], size: int) -> list[Sequence[ImageRow]]:
    """Cut rows into chunks of half `size` to `size` images.

    From half on, a chunk ends after an image whose id has a digest that allows it. So the borders depend on the ids
    near them: an image that is added or removed changes a few chunks, and the others keep their images.
    """
    chunks, start = [], 0
    smallest, one_in = -(-size // 2), max(2, size // 4)
    for end, row in enumerate(rows, start=1):
        length = end - start
        if length == size or end == len(rows) or (length >= smallest and _may_end(row.id, one_in)):
            chunks.append(rows[start:end])
            start = end
    return chunks


def _may_end(image_id: str, one_in: int) -> bool:
    return int(sha256_bytes(image_id.encode())[:8], 16) % one_in == 0


class Chunk(NamedTuple):
    """The unit of resume: a shard, a journal row."""

    name: str  # of its file
    split: str
    images: Sequence[ImageRow]


class ChunkRow(TypedDict):
    """A chunk that is done."""

    name: str
    split: str
    ids: list[str]  # images whose codes its file holds
    inputs: list[str]  # sha256 of their files
    computed: int  # number of images whose codes were not known from earlier runs
    bytes: int  # size of its file
    sha256: str
    bad: list[QuarantinedImage]


class _Record(NamedTuple):
    """A journal row: a chunk, and the number of the try that made it."""

    row: ChunkRow
    attempt: int


class ChunkScheduler:
    """Which of a step's chunks are to be made, which rank makes each, and which are done.

    A rank takes the next chunk when it is ready for one, by a counter that all ranks share: fast ranks take more, none
    waits for another, and no chunk is made twice. Each rank has a journal of its own. Rank 0 reads all journals of the
    draft before the work (chunks in one are not handed out) and after it, whatever number of ranks wrote them. A chunk
    with images that could not be used is tried again: they may have been repaired.
    The constructor and `all_rows` are collectives.
    """

    def __init__(self, chunks: Sequence[Chunk], draft: Draft, world: ProcessGroup) -> None:
        self.chunks, self.world, self._draft = chunks, world, draft
        records = self._read() if world.is_rank0 else {}
        sizes = draft.sizes() if world.is_rank0 else {}
        todo = [index for index, chunk in enumerate(chunks) if not _is_done(records.get(chunk.name), sizes)]
        attempt = 1 + max((record.attempt for record in records.values()), default=0)
        plan = {"job": secrets.token_hex(8), "todo": todo, "try": attempt}
        message = world.broadcast_bytes(json.dumps(plan).encode())
        assert message is not None
        plan = json.loads(message)
        self.todo = cast(list[int], plan["todo"])
        self._attempt = cast(int, plan["try"])
        self._job = plan["job"]  # each job has counters of its own
        self._next = self.counter("next")
        self._num_bad = self.counter("bad")
        self.bad: list[QuarantinedImage] = []  # that this rank knows of
        self.num_bad = 0
        self._journal = draft.journal(JOURNAL + self.suffix)

    @property
    def suffix(self) -> str:
        """Ends the names of this rank's own files, journal and logs."""
        return "" if self.world.size == 1 else f"-{self.world.rank:05}"

    @property
    def num_images(self) -> tuple[int, int]:
        """(done before this job, in all)"""
        total = sum(len(chunk.images) for chunk in self.chunks)
        return total - sum(len(self.chunks[index].images) for index in self.todo), total

    def rows_todo(self) -> Iterator[ImageRow]:
        """All images of the chunks that are to be made."""
        return (row for index in self.todo for row in self.chunks[index].images)

    def counter(self, name: str) -> Counter:
        return self.world.counter(f"{self._job}/{name}")

    def take(self) -> Iterator[int]:
        """Indexes of the chunks that are this rank's, taken one by one as they are asked for."""
        while (number := self._next.add(1)) <= len(self.todo):
            yield self.todo[number - 1]

    def done(self, row: ChunkRow) -> None:
        """The chunk's files are written: nobody will make it again."""
        self._journal.append([{**row, "try": self._attempt}])
        self.bad += row["bad"]
        self.num_bad = self._num_bad.add(len(row["bad"]))  # of all ranks

    def all_rows(self, stop: StopFlag, *, meanwhile: Callable[[], None] = lambda: None) -> list[ChunkRow]:
        """Waits until all ranks are done; rank 0 gets one row per chunk, in order, the others nothing.

        Raises Stopped, and StoreError where rows are missing.
        """
        self.world.barrier(stop, meanwhile=meanwhile)
        if not self.world.is_rank0:
            return []
        rows = {name: record.row for name, record in self._read().items()}
        self.bad = [image for row in rows.values() for image in row["bad"]]
        self.num_bad = len(self.bad)
        missing = [chunk.name for chunk in self.chunks if chunk.name not in rows]
        if missing:
            what = f"the journals of {self.world.size} processes lack {len(missing)} chunks, the first {missing[0]!r}"
            raise StoreError(self._draft.path, what, "run again; every machine must see the same work folder")
        return [rows[chunk.name] for chunk in self.chunks]

    def _read(self) -> dict[str, _Record]:
        """The last record of each chunk, by its name, from the journals of all ranks. Nobody may be writing."""
        rows = (row for name in self._draft.journal_names() for row in self._draft.journal(name).read())
        records = [_Record(cast(ChunkRow, row), row.get("try", 0)) for row in rows]
        return {record.row["name"]: record for record in sorted(records, key=lambda record: record.attempt)}


def _is_done(record: _Record | None, sizes: Mapping[str, int]) -> bool:
    """Quick, by size alone: the commit checks the bytes once more."""
    return record is not None and not record.row["bad"] and sizes.get(record.row["name"]) == record.row["bytes"]
