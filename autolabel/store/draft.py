"""Drafts: artefacts in the making. A draft that was interrupted is opened again and continued."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autolabel.errors import CorruptArtefact, StoreError
from autolabel.store import durable
from autolabel.store.artefact import (
    COMMIT,
    DATA,
    DRAFT,
    JOURNAL,
    LOG,
    MANIFEST,
    PROVENANCE,
    STATE,
    Artefact,
    final_path,
    log_lines,
    partial_path,
    publish,
)
from autolabel.store.files import Bytes, canonical_json, list_files, read_regular, sha256_all, sha256_bytes
from autolabel.store.gc import scan, set_aside
from autolabel.store.journal import Journal, Row, read_rows
from autolabel.store.names import check_name
from autolabel.store.os_errors import refused_link
from autolabel.store.record import FORMAT, Commit, Entries, Entry, encode_commit, encode_manifest


class Draft:
    """A folder that is being filled. Its methods may be called from threads, and from other ranks (see `join_draft`).

    An item is done once its files are written and then its row is in a journal. Files without a row are written again
    under the same names.
    """

    def __init__(self, folder: Path, key: str, *, check_lock: Callable[[], None] = lambda: None) -> None:
        self.folder, self.key, self._check_lock = folder, key, check_lock
        self.path = partial_path(folder, key)
        self.environments: list[dict[str, Any]] = []  # in which it was worked on, as the caller states them
        self.document: dict[str, Any] = {}  # the key document, as the caller states it
        self.aside: Path | None = None  # a damaged draft that stood in its place

    @property
    def data(self) -> Path:
        return self.path / DATA

    def names(self, prefix: str = "") -> list[str]:
        """Sorted names of the files in `data/`, each of them whole; after a resume those of earlier runs too."""
        return [name for name in self.sizes() if name.startswith(prefix)]

    def sizes(self) -> dict[str, int]:
        """Size in bytes of each file in `data/`, by name."""
        sizes = list_files(self.data)[0]
        return {name: size for name, size in sizes.items() if not Path(name).name.startswith(durable.TEMPORARY)}

    def write(self, name: str, data: Bytes) -> Entry:
        """Writes or replaces one file of `data/`; durable on return."""
        return self.write_many([(name, data)])[0]

    def write_many(self, items: Iterable[tuple[str, Bytes]], *, threads: int = 8) -> list[Entry]:
        """Writes a batch of files of `data/` (see `durable.write_files`); all durable on return."""
        self._check_lock()
        entries: list[Entry] = []

        def hashed() -> Iterator[tuple[str, Bytes]]:
            for name, data in items:
                entries.append(Entry(name, memoryview(data).nbytes, sha256_bytes(data)))
                yield name, data

        durable.write_files(self.data, hashed(), threads=threads)
        return entries

    def is_started(self) -> bool:
        """Whether there are finished items or a checkpoint, so that the work would be continued."""
        return bool(list_files(self.path / STATE)[0]) or any(list_files(self.path / JOURNAL)[0].values())

    def set_environments(
        self, environments: Iterable[Mapping[str, Any]], document: Mapping[str, Any] | None = None
    ) -> None:
        """State in which environments the draft is worked on, and the document that its key is the digest of."""
        self.environments = [dict(environment) for environment in environments]
        self.document = self.document if document is None else dict(document)
        record = {"format": FORMAT, "key": self.key, "environments": self.environments, "document": self.document}
        durable.write_file(self.path / DRAFT, *_with_digest(canonical_json(record)))

    def journal(self, name: str = "items") -> Journal:
        return Journal(self.path / JOURNAL / check_name(name))

    def journal_rows(self, name: str) -> Iterator[Row]:
        """The rows of a journal one by one, for a reader that must not change it."""
        return read_rows(self.path / JOURNAL / check_name(name))

    def journal_names(self) -> list[str]:
        """Names of the journals of this and earlier runs, which may have had another number of ranks."""
        return list(list_files(self.path / JOURNAL)[0])

    def state_write(self, name: str, data: Bytes) -> None:
        """Writes or replaces resume state (a training checkpoint); the commit removes it."""
        self._check_lock()
        durable.write_file(self.path / STATE / check_name(name), *_with_digest(data))

    def state_read(self, name: str) -> bytes | None:
        """The bytes last written; None if there are none, or if they are damaged (the work starts over)."""
        path = self.path / STATE / check_name(name)
        if not path.is_file():
            return None
        return _without_digest(read_regular(path))

    def log_append(self, name: str, line: str) -> None:
        """Adds a line to `log/<name>`: outside the root digest, kept with the artefact, durable from the commit on."""
        assert "\n" not in line
        durable.append_log(self.path / LOG / check_name(name), line.encode() + b"\n")

    def log_lines(self, name: str) -> list[str]:
        """Lines of a log that is being written."""
        return log_lines(self.path / LOG / check_name(name))

    def commit(
        self,
        *,
        meta: Mapping[str, Any],
        provenance: Mapping[str, Any],
        names: Iterable[str] | None = None,
        digests: Mapping[str, str] | None = None,
        jobs: int = 4,
    ) -> Artefact:
        """Makes the draft an artefact: reads back and hashes every file, writes COMMIT, then renames the folder.

        `meta` enters the root digest and must not differ between runs of one key; `provenance` may. Both are JSON
        (no NaN: ValueError). `names` is the exact set of files: others are removed, a missing one is a
        StoreError; None means every file of `data/`. `digests` are sha256 by name that the caller has recorded (from
        `write_many`, in its journal): if a file is missing or has other bytes, the draft is set aside and
        CorruptArtefact raised, so that the next run makes the files again.
        After a kill at any point, `recover` or a rerun of the stage ends with the same root digest.
        """
        # a wrong meta must fail before anything is changed
        canonical_json(meta)
        record = canonical_json(provenance)
        manifest = encode_manifest(self._settled(names, digests or {}, jobs), meta)
        self._sync_logs()
        durable.write_file(self.path / MANIFEST, manifest)
        durable.write_file(self.path / PROVENANCE, record)
        self._check_lock()
        commit = Commit(self.key, sha256_bytes(manifest), sha256_bytes(record))
        durable.write_file(self.path / COMMIT, encode_commit(commit))
        return publish(self.folder, self.key)

    def _settled(self, names: Iterable[str] | None, digests: Mapping[str, str], jobs: int) -> Entries:
        """Entries of exactly the wanted files, read from the disk once all names are durable."""
        durable.remove_temporaries(self.path)
        sizes, odd = list_files(self.data)
        if names is not None:
            odd += self._left_over(sizes, set(names))
        for name in odd:
            durable.remove_file(self.data / name)
        durable.remove_empty_folders(self.data)
        durable.sync_folders(self.data)
        entries = Entries()
        for name, digest in sha256_all(self.data, list(sizes), jobs=jobs):
            if isinstance(digest, StoreError):
                raise digest
            entries.add(Entry(check_name(name), sizes[name], digest))
        self._check(entries, digests)
        return entries

    def _left_over(self, sizes: dict[str, int], wanted: set[str]) -> list[str]:
        """Take the files that are not wanted out of `sizes`. StoreError if a wanted one is missing."""
        missing = sorted(wanted - sizes.keys())
        if missing:
            raise StoreError(self.data, f"{len(missing)} expected files were not written, the first {missing[0]!r}")
        odd = sorted(sizes.keys() - wanted)
        for name in odd:
            del sizes[name]
        return odd

    def _check(self, entries: Entries, digests: Mapping[str, str]) -> None:
        found = ((name, entries.named(name), digest) for name, digest in digests.items())
        bad = [name for name, entry, digest in found if entry is None or entry.sha256 != digest]
        if bad:
            aside = set_aside(self.path)
            raise CorruptArtefact(
                self.data, f"{len(bad)} files changed or vanished since they were written, the first {bad[0]!r}",
                f"they are kept in {aside.name}; run again to make new ones",
            )  # fmt: skip

    def _sync_logs(self) -> None:
        for name in list_files(self.path / LOG)[0]:
            durable.sync_file(self.path / LOG / name)
        durable.sync_folder(self.path / LOG)


def open_draft(folder: Path, key: str, *, check_lock: Callable[[], None] = lambda: None) -> Draft:
    """Opens the draft of a key, new or to continue it, and cleans up after a killed writer.

    `check_lock` is called before each batch of files and before COMMIT, and raises if the lock was lost.

    Call it under the lock, in one process (rank 0), after `recover` has returned None. StoreError if something
    stands in the place of the artefact.
    """
    for path in (folder.parent, folder):
        if path.is_symlink():
            raise refused_link(path)
    final = final_path(folder, key)
    if os.path.lexists(final):
        raise StoreError(final, "exists already, where this step would put its result", "verify it, or set it aside")
    draft = Draft(folder, key, check_lock=check_lock)
    assert not os.path.lexists(draft.path / COMMIT), "recover() first: this draft is complete"
    for path in (draft.path, draft.data):
        if path.is_symlink():
            raise refused_link(path)
    if not _read_record(draft):
        if draft.is_started():  # what it was worked on with is unknown, so nothing may be added to it
            draft.aside = set_aside(draft.path)
        draft.set_environments([])
    durable.make_folder(draft.data)
    durable.make_folder(draft.path / LOG)
    durable.remove_temporaries(draft.path)
    for name in list_files(draft.path / LOG)[0]:
        _repair_log(draft.path / LOG / name)
    return draft


def _read_record(draft: Draft) -> bool:
    """Take environments and document from the record; False if it is missing or damaged."""
    with suppress(CorruptArtefact, OSError, ValueError, KeyError, TypeError, RecursionError):
        data = read_regular(draft.path / DRAFT)
        record = data if data.startswith(b"{") else _without_digest(data)  # an earlier version wrote no digest
        if record is not None:
            found = json.loads(record)
            draft.environments, draft.document = found["environments"], found["document"]
            return True
    return False


def _with_digest(data: Bytes) -> tuple[Bytes, Bytes]:
    return sha256_bytes(data).encode() + b"\n", data


def _without_digest(data: bytes) -> bytes | None:
    """The data behind its digest; None if they do not fit."""
    digest, _, rest = data.partition(b"\n")
    return rest if sha256_bytes(rest).encode() == digest else None


def join_draft(folder: Path, key: str) -> Draft:
    """The draft that rank 0 has opened, for the other ranks. Cleans nothing, as other ranks may be writing."""
    draft = Draft(folder, key)
    assert draft.data.is_dir(), "rank 0 opens the draft first"
    _read_record(draft)
    return draft


def drafts(folder: Path) -> list[Draft]:
    """The unfinished drafts of a step, to be read: with a COMMIT they are artefacts. The caller holds the lock."""
    items = scan(folder.parent)
    found = (Draft(folder, item.key) for item in items if (item.kind, item.node) == ("draft", folder.name))
    return [draft for draft in found if not os.path.lexists(draft.path / COMMIT) and _read_record(draft)]


def _repair_log(path: Path) -> None:
    data = read_regular(path)
    whole = data.rfind(b"\n") + 1
    if whole < len(data):  # a line cut short by a power loss would swallow the next one
        durable.truncate_file(path, whole)
