from __future__ import annotations

import errno
import os
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autolabel.errors import StoreError
from autolabel.store import durable
from autolabel.store.hooks import Effect, Phase, observe


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def failing(kind: str, number: int) -> Callable[[Phase, Effect], None]:
    def observer(phase: Phase, effect: Effect) -> None:
        if (phase, effect.kind) == ("before", kind):
            raise OSError(number, os.strerror(number))

    return observer


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Files cannot grow past 1000 bytes: the system truncates a write and then refuses the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_write_file_makes_folders_and_replaces(tmp_path: Path) -> None:
    durable.write_file(tmp_path / "a" / "b" / "x", b"one")
    durable.write_file(tmp_path / "a" / "b" / "x", b"two", memoryview(b" three"), bytearray())
    assert (tmp_path / "a" / "b" / "x").read_bytes() == b"two three"
    assert tree(tmp_path) == {"a", "a/b", "a/b/x"}
    assert (tmp_path / "a" / "b" / "x").stat().st_mode & 0o111 == 0


def test_no_file_is_a_program(tmp_path: Path) -> None:
    durable.ensure_file(tmp_path / "journal")
    durable.append_log(tmp_path / "log", b"line")
    os.close(durable.open_lock_file(tmp_path / "new" / "lock"))
    for name in ("journal", "log", "new/lock"):
        assert (tmp_path / name).stat().st_mode & 0o111 == 0


def test_every_effect_says_what_it_changes(tmp_path: Path) -> None:
    """So that a test can replay it."""
    seen: list[Effect] = []

    def watch(phase: Phase, effect: Effect) -> None:
        if phase == "after":
            seen.append(effect)

    x, target = tmp_path / "x", tmp_path / "b"
    with observe(watch):
        durable.append_log(x, b"one")
        durable.append_file(x, b"two", at=3)
        durable.truncate_file(x, 4)
        durable.sync_file(x)
        durable.write_file(x, b"new")
        (tmp_path / "a").mkdir()
        durable.publish(tmp_path / "a", target)
        durable.remove_tree(target)
        durable.remove_file(x)
    (temporary,) = {effect.path for effect in seen if effect.kind == "rename" and effect.target == x}
    assert temporary.parent == tmp_path
    assert seen == [
        Effect("create", x),
        Effect("append", x, data=b"one"),
        Effect("append", x, data=b"two"),
        Effect("fsync", x),
        Effect("truncate", x, size=4),
        Effect("fsync", x),
        Effect("fsync", x),
        Effect("fsync_folder", tmp_path.parent),
        Effect("create", temporary),
        Effect("write", temporary, data=b"new"),
        Effect("fsync", temporary),
        Effect("rename", temporary, target=x),
        Effect("fsync_folder", tmp_path),
        Effect("rename", tmp_path / "a", target=target),
        Effect("fsync_folder", tmp_path),
        Effect("rmdir", target),
        Effect("unlink", x),
    ]


def test_the_text_of_a_lock_file_is_replaced_whole(tmp_path: Path) -> None:
    fd = durable.open_lock_file(tmp_path / "lock")
    durable.write_lock_file(fd, tmp_path / "lock", b"a longer text")
    durable.write_lock_file(fd, tmp_path / "lock", b"short")
    os.close(fd)
    assert (tmp_path / "lock").read_bytes() == b"short"


def test_a_folder_below_one_that_may_not_be_opened_is_made(tmp_path: Path) -> None:
    """A home on a cluster, say: what lies above it is none of ours."""
    with observe(failing("fsync_folder", errno.EACCES)), pytest.raises(StoreError, match="Permission denied"):
        durable.make_folder(tmp_path / "a" / "b")
    assert tree(tmp_path) == {"a"}, "below it the names must be durable"
    durable.remove_tree(tmp_path / "a")
    durable.remove_tree(tmp_path / "a")  # nothing is there any more


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    durable.write_file(tmp_path / "x", b"old")
    with pytest.raises(StoreError, match="File too large"):
        durable.write_file(tmp_path / "x", bytes(2000))
    with pytest.raises(StoreError, match="File too large"):
        durable.write_files(tmp_path, [("x", bytes(2000)), ("y", b"y")])
    assert (tmp_path / "x").read_bytes() == b"old"
    assert tree(tmp_path) <= {"x", "y"}


@pytest.mark.usefixtures("small_disk")
def test_a_failed_append_is_cut_back(tmp_path: Path) -> None:
    durable.ensure_file(tmp_path / "x")
    durable.append_file(tmp_path / "x", b"a" * 900, at=0)
    with pytest.raises(StoreError, match="File too large"):
        durable.append_file(tmp_path / "x", b"b" * 200, at=900)
    assert (tmp_path / "x").read_bytes() == b"a" * 900


@pytest.mark.parametrize("kind", ["create", "write", "fsync", "rename"])
@pytest.mark.parametrize(("number", "text"), [(errno.ENOSPC, "No space left"), (errno.EIO, "Input/output error")])
def test_a_failed_call_is_named_and_never_repeated(tmp_path: Path, kind: str, number: int, text: str) -> None:
    durable.write_file(tmp_path / "x", b"old")
    seen: list[str] = []
    watch = observe(lambda phase, effect: seen.append(effect.kind) if phase == "before" else None)
    with watch, observe(failing(kind, number)), pytest.raises(StoreError, match=rf"x: {text}.*; \w+"):
        durable.write_file(tmp_path / "x", b"new")
    assert seen.count(kind) == 1
    assert tree(tmp_path) == {"x"}
    assert (tmp_path / "x").read_bytes() == b"old"


def test_folders_that_cannot_be_synced_are_tolerated(tmp_path: Path) -> None:
    with observe(failing("fsync_folder", errno.EINVAL)):
        durable.write_file(tmp_path / "x", b"")
    with observe(failing("fsync_folder", errno.EIO)), pytest.raises(StoreError, match="Input/output"):
        durable.write_file(tmp_path / "x", b"")


def test_write_files_syncs_each_file_and_each_folder_once(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    seen: list[Effect] = []
    items = [(f"{i % 3}/{i}.png", bytes([i])) for i in range(100)]
    with observe(lambda phase, effect: seen.append(effect) if phase == "after" else None):
        durable.write_files(folder, iter(items), threads=4)
    assert {name: (folder / name).read_bytes() for name, _ in items} == dict(items)
    assert Counter(e.kind for e in seen)["fsync"] == 100
    last_rename = max(i for i, e in enumerate(seen) if e.kind == "rename")
    assert [e.path for e in seen[last_rename + 1 :]] == [folder, folder / "0", folder / "1", folder / "2"]


def test_write_files_takes_items_as_needed(tmp_path: Path) -> None:
    taken = []

    def items() -> Iterator[tuple[str, bytes]]:
        for i in range(40):
            taken.append(i)
            assert len(taken) - len(list(tmp_path.iterdir())) <= 8
            yield str(i), b""

    durable.write_files(tmp_path, items(), threads=2)
    assert len(taken) == 40


@pytest.mark.parametrize("name", ["../x", "/x", "", "a/../x", ".tmp-x", "a/"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "inside").mkdir()
    with pytest.raises(StoreError, match="not a safe file name"):
        durable.write_files(tmp_path / "inside", [(name, b"")])
    assert tree(tmp_path) == {"inside"}


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (outside / "x").write_bytes(b"keep")
    folder.mkdir()
    (folder / "sub").symlink_to(outside)
    (folder / "x").symlink_to(outside / "x")
    with pytest.raises(StoreError, match="symbolic link"):
        durable.write_files(folder, [("sub/x", b"")])
    with pytest.raises(StoreError, match="symbolic"):
        durable.append_log(folder / "x", b"more")
    durable.write_files(folder, [("x", b"own")])  # replaces the link
    with pytest.raises(StoreError, match="symbolic link"):
        durable.remove_tree(folder / "sub")
    durable.remove_tree(folder)
    assert (outside / "x").read_bytes() == b"keep"
    assert tree(tmp_path) == {"outside", "outside/x"}


def test_append_refuses_a_file_that_another_process_has_written_to(tmp_path: Path) -> None:
    durable.ensure_file(tmp_path / "x")
    durable.append_file(tmp_path / "x", b"ab", at=0)
    with pytest.raises(StoreError, match="2 bytes long instead of 0"):
        durable.append_file(tmp_path / "x", b"cd", at=0)
    durable.truncate_file(tmp_path / "x", 1)
    durable.ensure_file(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"a"


def test_publish_never_overwrites(tmp_path: Path) -> None:
    durable.make_folder(tmp_path / "a")
    durable.make_folder(tmp_path / "b")  # even an empty folder, which rename(2) would replace
    with pytest.raises(StoreError, match="already exists"):
        durable.publish(tmp_path / "a", tmp_path / "b")
    durable.publish(tmp_path / "a", tmp_path / "c")
    assert tree(tmp_path) == {"b", "c"}


def test_make_folder_syncs_what_a_killed_run_may_not_have(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    seen: list[tuple[str, Path]] = []
    with observe(lambda phase, effect: seen.append((effect.kind, effect.path)) if phase == "after" else None):
        durable.make_folder(tmp_path / "a" / "b" / "c")
    assert seen == [
        ("fsync_folder", tmp_path),
        ("mkdir", tmp_path / "a" / "b"),
        ("fsync_folder", tmp_path / "a"),
        ("mkdir", tmp_path / "a" / "b" / "c"),
        ("fsync_folder", tmp_path / "a" / "b"),
    ]


def test_make_folder_refuses_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(StoreError, match="not a folder"):
        durable.make_folder(tmp_path / "a" / "b")


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    durable.write_files(tmp_path, [("x", b""), ("full/x", b""), ("empty/sub/x", b"")])
    (tmp_path / "full" / ".tmp-0123").write_bytes(b"")
    (tmp_path / ".tmp-0123").write_bytes(b"")
    durable.remove_file(tmp_path / "empty" / "sub" / "x")
    durable.remove_temporaries(tmp_path)
    durable.remove_empty_folders(tmp_path)
    assert tree(tmp_path) == {"x", "full", "full/x"}
