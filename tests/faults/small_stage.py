"""A small stage on the store alone, with a damaged artefact to redo and an old one to delete."""

from __future__ import annotations

from pathlib import Path

from autolabel.store import Artefact, delete, digest_json, hold_lock, open_draft, recover, scan, set_aside

KEY, DAMAGED, OLD = "a" * 64, "b" * 64, "c" * 64
ITEMS = {f"auto/{i}.png": bytes([i]) * (i + 1) for i in range(5)}
BATCH = 2


def build(folder: Path, key: str) -> Artefact:
    """The routine of every stage: recover, verify, set aside, or draft, batches, commit."""
    artefact = recover(folder, key)
    if artefact is not None and artefact.verify(full=True):
        set_aside(artefact.path)
        artefact = None
    if artefact is not None:
        return artefact
    draft = open_draft(folder, key)
    journal = draft.journal()
    digests = {row["name"]: row["sha256"] for row in journal.rows}
    assert not digests or draft.state_read("step"), "state is replaced, never lost"
    todo = sorted(ITEMS.keys() - digests.keys())
    for i in range(0, len(todo), BATCH):
        draft.state_write("step", str(i).encode())
        entries = draft.write_many([(name, ITEMS[name]) for name in todo[i : i + BATCH]], threads=2)
        journal.append([{"name": entry.name, "sha256": entry.sha256} for entry in entries])
        digests |= {entry.name: entry.sha256 for entry in entries}
        draft.log_append("metrics.jsonl", str(i))
    return draft.commit(meta={"num": len(ITEMS)}, provenance={"by": "test"}, names=ITEMS, digests=digests)


def prepare(root: Path) -> None:
    build(root / "artefacts" / "label", OLD)
    damaged = build(root / "artefacts" / "codes", DAMAGED)
    damaged.file("auto/3.png").write_bytes(b"\0\3\3\3")


def scenario(root: Path) -> str:
    artefacts = root / "artefacts"
    with hold_lock(root / ".lock"):
        made = [build(artefacts / "label", KEY), build(artefacts / "codes", DAMAGED)]
        for found in scan(artefacts):
            if found.kind == "trash" or found.key == OLD[:16]:
                delete(found.path)
    assert not any(artefact.verify(full=True) for artefact in made)
    return digest_json([artefact.digest for artefact in made])


def check(root: Path) -> None:
    """P1: whatever looks committed is whole, but for the one damaged on purpose; P4: that one is kept."""
    found = scan(root / "artefacts")
    problems = [p for f in found if f.kind == "committed" for p in Artefact.open(f.path).verify(full=True)]
    assert problems in ([], ["data/auto/3.png: its bytes differ from what was committed"])
    names = [f.path.name for f in found]
    assert bool(problems) != any(f.kind == "corrupt" for f in found), f"damaged: gone, or there twice: {names}"
