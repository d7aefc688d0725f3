"""Codes that earlier runs of the infer step found: an image is computed once, whatever is added beside it.

Codes depend on the bytes of the image, the network, the settings and the environment, and not on other images. An image
counts as known if an earlier artefact or draft of the step holds the codes of a file with the same sha256, made with
the same network and settings in the same environment. A shard of just the same images is copied as it is. On a CPU the
shards of a grown data set are therefore the bytes that a run from nothing writes. On CUDA they may differ in a few
pixels: an image may share its batch with others then, and a batch of another size may change the last bits of its sums.

An artefact that was set aside counts, too: it is damaged in part, or was made again for the sake of other images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autolabel.artifacts import SHARD_INDEX_FILE, ShardEntry, read_shard_index
from autolabel.errors import AutolabelError, StoreError
from autolabel.flow.changes import committed
from autolabel.flow.environment import DEVICE, PRECISION, VERSIONS, Environment, changes
from autolabel.store import Artefact, Draft, drafts, sha256_bytes
from autolabel.store.files import read_regular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autolabel.data.schema import ImageRow
    from autolabel.labels.codebook import Codebook
    from autolabel.labels.shards import Shard
    from autolabel.stages.chunk_scheduler import Chunk

JOURNAL = "shards"  # the journals of a draft, one per rank, begin with this
_CACHED_SHARDS = 4
COMPARED = (VERSIONS, DEVICE, PRECISION)  # fields of an environment that codes depend on


class _StoredShard(NamedTuple):
    """A shard of an earlier run, with the digests of the images whose codes it holds."""

    path: Path
    sha256: str
    split: str
    ids: tuple[str, ...]
    inputs: tuple[str, ...]


class _OpenShard(NamedTuple):
    data: bytes
    shard: Shard


class KnownChunk(NamedTuple):
    """The part of a chunk that is known: its whole shard, or the codes of some images by id."""

    shard: bytes | None
    codes: Mapping[str, tuple[Shard, str]]  # an open shard, and the id in it
    unknown: list[ImageRow]  # images to compute

    def merged(
        self, order: Sequence[ImageRow], computed: Sequence[tuple[str, NDArray[np.uint8]]]
    ) -> list[tuple[str, NDArray[np.uint8]]]:
        """(image id, codes) in the chunk's order; images without codes are left out."""
        new = dict(computed)
        found = []
        for row in order:
            if row.id in new:
                found.append((row.id, new[row.id]))
            elif row.id in self.codes:
                shard, id_ = self.codes[row.id]
                found.append((row.id, shard.codes(id_)))
        return found


class OtherCodes(NamedTuple):
    """Images whose codes were made in another environment, by digest, with the changes since: "torch 1 -> 2"."""

    changes: tuple[str, ...] = ()
    images: frozenset[str] = frozenset()


class KnownCodes:
    """Looks images up by digest. A shard that is damaged, or of other classes, is forgotten when it is met."""

    def __init__(
        self,
        shards: Sequence[_StoredShard],
        book: Codebook,
        class_names: Sequence[str],
        others: Sequence[OtherCodes] = (),
    ) -> None:
        self._others = others
        self._book, self._class_names = book, tuple(class_names)
        self._open = lru_cache(_CACHED_SHARDS)(self._opened)
        self._whole: defaultdict[object, list[_StoredShard]] = defaultdict(list)
        self._images: defaultdict[str, list[tuple[_StoredShard, str]]] = defaultdict(list)
        for shard in shards:
            self._whole[shard.split, shard.ids, shard.inputs].append(shard)
            for id_, digest in zip(shard.ids, shard.inputs, strict=True):
                self._images[digest].append((shard, id_))

    def count(self, rows: Iterable[ImageRow]) -> int:
        """How many of the images seem to be known; nothing is opened."""
        return sum(map(self.seems_known, rows)) if self._images else 0

    def seems_known(self, row: ImageRow) -> bool:
        """Whether a shard states codes of the image; nothing is opened."""
        return row.sha256 in self._images

    def of_other_environments(self, rows: Iterable[ImageRow]) -> OtherCodes:
        """Images to compute because the environment is another one now; the newest of these codes says the changes."""
        if not self._others:
            return OtherCodes()
        unknown = {row.sha256 for row in rows} - self._images.keys()
        found = [other for other in self._others if other.images & unknown]
        images = frozenset().union(*(other.images & unknown for other in found))
        return OtherCodes(found[0].changes if found else (), images)

    def of(self, chunk: Chunk) -> KnownChunk:
        """The part of the chunk that is known; the bytes of every shard it needs are checked."""
        key = chunk.split, tuple(row.id for row in chunk.images), tuple(row.sha256 for row in chunk.images)
        for same in self._whole.get(key, ()):
            if (opened := self._open(same)) is not None:
                return KnownChunk(opened.data, {}, [])
        codes = {row.id: place for row in chunk.images if (place := self._place(row)) is not None}
        return KnownChunk(None, codes, [row for row in chunk.images if row.id not in codes])

    def _place(self, row: ImageRow) -> tuple[Shard, str] | None:
        for stored, id_ in self._images.get(row.sha256, ()):
            if (opened := self._open(stored)) is not None:
                return opened.shard, id_
        return None

    def _opened(self, stored: _StoredShard) -> _OpenShard | None:
        from autolabel.labels.shards import read_shard

        with suppress(AutolabelError):
            data = read_regular(stored.path)
            if sha256_bytes(data) == stored.sha256:
                shard = read_shard(data, where=stored.path)
                made_alike = (shard.book, shard.class_names) == (self._book, self._class_names)
                return _OpenShard(data, shard) if made_alike and shard.ids == stored.ids else None
        return None


def find_known_codes(
    draft: Draft,
    document: Mapping[str, Any],
    book: Codebook,
    class_names: Sequence[str],
) -> KnownCodes:
    """Search the earlier artefacts and drafts of the step that `draft` belongs to; the newest counts first."""
    found: list[_StoredShard] = []
    others: list[OtherCodes] = []
    for earlier in earlier_work(draft, document):
        if changed := other_environment(earlier.environments, draft.environments):
            digests = frozenset(digest for shard in earlier.shards for digest in shard.inputs)
            others.append(OtherCodes(tuple(changed), digests))
        else:
            found += earlier.shards  # a damaged one is passed over for the next that holds the same image
    return KnownCodes(found, book, class_names, others)


class EarlierWork(NamedTuple):
    """An artefact or draft with codes of the same network and settings."""

    environments: Sequence[Environment]
    data: Path
    shards: Iterator[_StoredShard]


def earlier_work(draft: Draft, document: Mapping[str, Any]) -> Iterator[EarlierWork]:
    """Each artefact and other draft that holds codes of the same work as the document, the newest artefact first."""
    folder = draft.folder
    for artefact in committed(folder.parent, folder.name, kinds=("committed", "corrupt")):
        if _same_work(artefact.provenance.get("key", {}), document):
            yield EarlierWork(artefact.provenance.get("environments", []), artefact.data, _shards_of(artefact))
    for other in drafts(folder):
        if other.path != draft.path and _same_work(other.document, document):
            yield EarlierWork(other.environments, other.data, _shards_of_draft(other))


def other_environment(
    earlier: Sequence[Environment], now: Sequence[Environment], fields: Collection[str] = COMPARED
) -> list[str]:
    """The changes of these fields; none if the present environment makes the codes that those ones made."""
    found = (changes(one, now[-1], fields) for one in earlier) if now else iter(())
    return next((changed for changed in found if changed), [])


def _same_work(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two key documents give an image the same codes: they differ in the images and in `chunk` alone."""
    return bool(one) and _of_one_image(one) == _of_one_image(other)


def _of_one_image(document: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in document.get("settings", {}).items() if name != "chunk"}
    inputs = {name: digest for name, digest in document.get("inputs", {}).items() if name != "data"}
    return {**document, "settings": settings, "inputs": inputs}


def _shards_of(artefact: Artefact) -> Iterator[_StoredShard]:
    if SHARD_INDEX_FILE.name not in artefact.names():
        return
    with suppress(AutolabelError):
        digests = {entry.name: entry.sha256 for entry in artefact.entries}
        for entry in read_shard_index(artefact).shards:
            yield from _stored(artefact.file(entry.name), digests[entry.name], entry)


def _shards_of_draft(draft: Draft) -> Iterator[_StoredShard]:
    with suppress(StoreError, KeyError, TypeError):
        for name in draft.journal_names():
            for row in draft.journal_rows(name) if name.startswith(JOURNAL) else ():
                entry = ShardEntry(row["name"], row["split"], tuple(row["ids"]), tuple(row["inputs"]))
                yield from _stored(draft.data / entry.name, row["sha256"], entry)


def _stored(path: Path, sha256: str, entry: ShardEntry) -> Iterator[_StoredShard]:
    if len(entry.ids) == len(entry.inputs):
        yield _StoredShard(path, sha256, entry.split, entry.ids, entry.inputs)
