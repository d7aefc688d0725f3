from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from autolabel.errors import CorruptArtefact, StoreError, WorkFolderLocked
from autolabel.store import Draft, drafts, find, hold_lock, join_draft, open_draft, recover, sha256_bytes
from autolabel.store.hooks import Effect, observe

KEY = "0123456789abcdef" * 4


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    return open_draft(tmp_path, KEY)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_reopened_draft_is_resumed(draft: Draft, tmp_path: Path) -> None:
    draft.write("x", b"x")
    draft.journal().append([{"id": "x"}])
    draft.state_write("model", b"one\ntwo")
    draft.log_append("metrics", "step 1")
    (draft.data / ".tmp-0").write_bytes(b"cut sho")
    (draft.path / "log" / "metrics").write_bytes(b"step 1\nste")
    assert find(tmp_path, KEY) is None
    assert recover(tmp_path, KEY) is None
    assert draft.names() == ["x"]
    again = open_draft(tmp_path, KEY)
    assert again.names() == ["x"]
    assert again.journal_names() == ["items"]
    assert again.journal().rows == [{"id": "x"}]
    assert again.state_read("model") == b"one\ntwo"
    assert again.state_read("none") is None
    again.log_append("metrics", "step 2")
    artefact = again.commit(meta={}, provenance={})
    assert artefact.log_lines("metrics") == ["step 1", "step 2"]
    assert names(tmp_path / KEY[:16]) == {
        "COMMIT", "manifest.json", "provenance.json", "data", "data/x", "log", "log/metrics",
    }  # fmt: skip
    assert not draft.path.exists()


def test_damaged_state_counts_as_none(draft: Draft) -> None:
    draft.state_write("model", bytes(100))
    path = draft.path / "state" / "model"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert draft.state_read("model") is None


def test_removals_are_durable_before_the_commit(draft: Draft) -> None:
    """A power cut must not bring back a name that is not in the manifest."""
    draft.write_many([("x", b"x"), ("old/y", b"y")])
    (draft.data / "old" / ".tmp-0").write_bytes(b"cut sho")
    pending, relied_on = set[Path](), []

    def observer(phase: str, effect: Effect) -> None:
        if phase == "after" and effect.kind in ("unlink", "rmdir"):
            pending.add(effect.path.parent)
        if phase == "after" and effect.kind in ("fsync_folder", "rmdir"):
            pending.discard(effect.path)
        if phase == "before" and effect.target is not None and effect.target.name == "COMMIT":
            relied_on.append(set(pending))

    with observe(observer):
        draft.commit(meta={}, provenance={}, names=["x"])
    assert relied_on == [set()]


def test_write_many_returns_the_entries(draft: Draft) -> None:
    entries = draft.write_many((f"{i}", bytes(i)) for i in range(100))
    assert [(e.name, e.size, e.sha256) for e in entries] == [(f"{i}", i, sha256_bytes(bytes(i))) for i in range(100)]


def test_commit_takes_exactly_the_names_wanted(draft: Draft, tmp_path: Path) -> None:
    draft.write_many([("x", b"x"), ("old/y", b"y"), ("z", b"z")])
    (draft.data / "link").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="1 expected files were not written, the first 'w'"):
        draft.commit(meta={}, provenance={}, names=["w", "x"])
    assert draft.names() == ["old/y", "x", "z"]
    artefact = draft.commit(meta={}, provenance={}, names=["z", "x"])
    assert artefact.names() == ["x", "z"]
    assert names(artefact.data) == {"x", "z"}


def test_an_empty_artefact_is_valid(draft: Draft, tmp_path: Path) -> None:
    assert draft.commit(meta={"n": 0}, provenance={}).entries == ()
    (tmp_path / KEY[:16] / "data").rmdir()  # as left by tools that drop empty folders
    assert find(tmp_path, KEY).verify(full=True) == []


def test_a_file_changed_before_the_commit_is_noticed(draft: Draft, tmp_path: Path) -> None:
    kept = {entry.name: entry.sha256 for entry in draft.write_many([("x", b"x"), ("y", b"y")])}
    (draft.data / "y").write_bytes(b"z")
    with pytest.raises(CorruptArtefact, match=r"1 files changed .* 'y'; they are kept in .*corrupt-1"):
        draft.commit(meta={}, provenance={}, digests=kept)
    assert recover(tmp_path, KEY) is None
    assert open_draft(tmp_path, KEY).names() == []  # the next run starts anew


@pytest.mark.parametrize("meta", [{"iou": float("nan")}, {"x": {1, 2}}])
def test_a_meta_that_is_not_json_changes_nothing(draft: Draft, meta: dict[str, object]) -> None:
    draft.write("x", b"")
    before = names(draft.path)
    for arguments in ({"meta": meta, "provenance": {}}, {"meta": {}, "provenance": meta}):
        with pytest.raises((ValueError, TypeError)):
            draft.commit(**arguments)
    assert names(draft.path) == before


@pytest.mark.parametrize("name", ["../x", "/x", "", ".tmp-1"])
def test_names_cannot_leave_the_draft(draft: Draft, name: str) -> None:
    for use in (draft.write, draft.state_write):
        with pytest.raises(StoreError, match="not a safe file name"):
            use(name, b"")
    for reach in (draft.journal, draft.state_read, lambda name: draft.log_append(name, "")):
        with pytest.raises(StoreError, match="not a safe file name"):
            reach(name)


def test_a_draft_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"{KEY[:16]}.partial").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        open_draft(tmp_path, KEY)


def commit_but_die_before_the_rename(folder: Path, damage: str) -> Path:
    """A draft as a kill between COMMIT and rename leaves it."""
    draft = open_draft(folder, KEY)
    draft.write("x", b"x")
    draft.journal().append([{"id": "x"}])
    draft.commit(meta={}, provenance={}).path.rename(draft.path)
    if damage:
        path = draft.path / damage
        path.write_bytes(path.read_bytes()[:-1])
    return draft.path


def test_recover_completes_a_commit(tmp_path: Path) -> None:
    partial = commit_but_die_before_the_rename(tmp_path, "")
    assert find(tmp_path, KEY) is None
    with pytest.raises(AssertionError, match="recover"):
        open_draft(tmp_path, KEY)
    assert recover(tmp_path, KEY).verify(full=True) == []
    assert not partial.exists()


def test_recover_makes_a_commit_safe_before_the_journal_goes(tmp_path: Path) -> None:
    """The name of COMMIT may not be durable: a power cut would leave neither, and all items would be done again."""
    partial = commit_but_die_before_the_rename(tmp_path, "")
    (partial / "journal").mkdir()
    seen: list[tuple[str, Path]] = []
    with observe(lambda phase, effect: seen.append((effect.kind, effect.path))):
        recover(tmp_path, KEY)
    assert seen.index(("fsync_folder", partial)) < seen.index(("rmdir", partial / "journal"))


@pytest.mark.parametrize("damage", ["COMMIT", "manifest.json", "data/x"])
def test_recover_gives_up_a_damaged_commit(tmp_path: Path, damage: str) -> None:
    commit_but_die_before_the_rename(tmp_path, damage)
    assert recover(tmp_path, KEY) is None
    draft = open_draft(tmp_path, KEY)
    draft.write("x", b"x")
    assert draft.commit(meta={}, provenance={}).verify(full=True) == []


def _rank(folder: Path, rank: int) -> None:
    draft = join_draft(folder, KEY)
    journal = draft.journal(f"rank-{rank}")
    for i in range(rank, 40, 2):
        draft.write(f"{i}.png", bytes([i]))
        journal.append([{"id": i}])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # since 3.12, if the test runner has threads
def test_ranks_share_a_draft(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="rank 0"):
        join_draft(tmp_path, KEY)
    draft = open_draft(tmp_path, KEY)
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=_rank, args=(tmp_path, rank)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
        assert rank.exitcode == 0
    rows = [row["id"] for name in draft.journal_names() for row in draft.journal(name).rows]
    assert sorted(rows) == list(range(40))
    artefact = draft.commit(meta={}, provenance={}, names=[f"{i}.png" for i in range(40)])
    assert all(artefact.read(f"{i}.png") == bytes([i]) for i in range(40))


def test_a_lost_lock_ends_the_work_before_commit(tmp_path: Path) -> None:
    with hold_lock(tmp_path / "lock") as lock:
        draft = open_draft(tmp_path / "step", KEY, check_lock=lock.check)
        draft.write("a", b"1")
        (tmp_path / "lock").unlink()
        for act in (
            lambda: draft.write("b", b"2"),
            lambda: draft.state_write("c", b"3"),
            lambda: draft.commit(meta={}, provenance={}),
        ):
            with pytest.raises(WorkFolderLocked, match="deleted or replaced"):
                act()
    assert find(tmp_path / "step", KEY) is None
    assert not (draft.path / "COMMIT").exists()


def test_the_unfinished_drafts_of_a_step_are_found(tmp_path: Path) -> None:
    draft = open_draft(tmp_path / "infer", KEY)
    draft.write("x", b"x")
    open_draft(tmp_path / "label", KEY)
    open_draft(tmp_path / "infer", KEY[::-1]).commit(meta={}, provenance={})
    (found,) = drafts(tmp_path / "infer")
    assert (found.path, found.names()) == (draft.path, ["x"])
