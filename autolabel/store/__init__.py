"""The store: everything that reaches the disk goes through here, and survives kill -9, power loss and a full disk.

P1  A committed artefact is byte-exact or reported corrupt.
P2  After a kill, power loss, full disk or I/O error, running again gives the same bytes with no manual step.
P3  At most one batch of finished items is done again.
P4  Committed data is never overwritten; only `delete` removes it, and a corrupt artefact is set aside, not deleted.

A stage uses it like this, under `hold_lock(work / ".lock")`:

    artefact = recover(folder, key)                    # committed, or an interrupted commit that is now completed
    if artefact is not None and artefact.verify():     # CorruptArtefact from recover is the same case
        set_aside(artefact.path)
        artefact = None
    if artefact is None:
        draft = open_draft(folder, key)                # new, or resumed
        journal = draft.journal()
        done = {row["id"] for row in journal.rows}
        for batch in batches(todo - done):
            draft.write_many(files_of(batch))          # files first,
            journal.append(rows_of(batch))             # then the rows that say they are there
        artefact = draft.commit(meta=..., provenance=...)
"""

from autolabel.store.artefact import Artefact, Unreadable, find, find_problems, newest_first, recover
from autolabel.store.draft import Draft, drafts, join_draft, open_draft
from autolabel.store.durable import TEMPORARY, make_folder, remove_file, remove_temporaries, write_file, write_files
from autolabel.store.files import Bytes, bytes_in, canonical_json, digest_json, sha256_bytes, sha256_file
from autolabel.store.folder import write_folder
from autolabel.store.gc import Kind, WorkFolderItem, delete, scan, set_aside
from autolabel.store.input_digests import INPUT_DIGESTS, Digests, InputDigests
from autolabel.store.journal import Journal
from autolabel.store.lock import hold_lock
from autolabel.store.names import mirror_names, safe_name
from autolabel.store.output_folder import UNFINISHED, OutputFolder, check_output, check_place, only_writer, open_output
from autolabel.store.record import Entry
from autolabel.store.repair import Repaired, repair
from autolabel.store.work_mark import WORK_MARK, ensure_mark, require_mark

__all__ = [
    "INPUT_DIGESTS",
    "TEMPORARY",
    "UNFINISHED",
    "WORK_MARK",
    "Artefact",
    "Bytes",
    "Digests",
    "Draft",
    "Entry",
    "InputDigests",
    "Journal",
    "Kind",
    "OutputFolder",
    "Repaired",
    "Unreadable",
    "WorkFolderItem",
    "bytes_in",
    "canonical_json",
    "check_output",
    "check_place",
    "delete",
    "digest_json",
    "drafts",
    "ensure_mark",
    "find",
    "find_problems",
    "hold_lock",
    "join_draft",
    "make_folder",
    "mirror_names",
    "newest_first",
    "only_writer",
    "open_draft",
    "open_output",
    "recover",
    "remove_file",
    "remove_temporaries",
    "repair",
    "require_mark",
    "safe_name",
    "scan",
    "set_aside",
    "sha256_bytes",
    "sha256_file",
    "write_file",
    "write_files",
    "write_folder",
]
