"""SIGKILL and I/O errors at every effect of a small stage, with a damaged artefact to redo and an old one to delete."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from autolabel.store import Artefact, open_draft, recover, scan, write_file
from autolabel.store.hooks import Effect, Phase, observe
from tests.faults.harness import fail_with, run_fault_matrix, run_kill_matrix
from tests.faults.small_stage import BATCH, ITEMS, KEY, prepare, scenario


def check(root: Path) -> None:
    """P1: whatever looks committed is whole, but for the one damaged on purpose; P4: that one is kept."""
    found = scan(root / "artefacts")
    problems = [p for f in found if f.kind == "committed" for p in Artefact.open(f.path).verify(full=True)]
    assert problems in ([], ["data/auto/3.png: its bytes differ from what was committed"])
    names = [f.path.name for f in found]
    assert bool(problems) != any(f.kind == "corrupt" for f in found), f"damaged: gone, or there twice: {names}"


@pytest.mark.slow
def test_store_survives_kills_at_every_effect(ram: Path) -> None:
    done = run_kill_matrix(scenario, ram, prepare=prepare, check=check, batch=BATCH, num_doubles=60)
    assert done.num_faults > 400
    print(done)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "first"), [(errno.EIO, 0), (errno.ENOSPC, 3)])
def test_store_heals_after_a_failing_call(ram: Path, number: int, first: int) -> None:
    points = lambda num: range(first, num, 5)  # noqa: E731  before some effects and after others
    run_fault_matrix(scenario, ram, fault=fail_with(number), prepare=prepare, check=check, batch=BATCH, points=points)


# ---- the harness itself: scenarios that break a promise are caught


def forgetful(root: Path) -> str:
    """Keeps no journal: starts from the first item each time."""
    if recover(root, KEY) is None:
        draft = open_draft(root, KEY)
        for name in ITEMS:
            draft.write(name, ITEMS[name])
        draft.commit(meta={}, provenance={})
    return ""


def untidy(root: Path) -> str:
    """Writes outside a draft, where nobody cleans up."""
    write_file(root / "report.html", b"")
    return ""


def counting(root: Path) -> str:
    """Its result depends on what an earlier run left."""
    names = len(list(root.iterdir()))
    write_file(root / "result", b"")
    return str(names)


def in_place(root: Path) -> str:
    """A result that is trusted because its name is there, but published before its content."""
    name = root / "artefacts" / "label"
    if not name.exists():
        name.mkdir(parents=True)
        write_file(root / "artefacts" / "label" / "data", b"1")
    return str(len(list(name.iterdir())))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "message"),
    [(forgetful, "done again"), (untidy, "left over"), (counting, "another digest"), (in_place, "another digest")],
)
def test_harness_catches(ram: Path, broken: object, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        run_kill_matrix(broken, ram, batch=BATCH)


def test_every_effect_shows_in_order_with_its_bytes(tmp_path: Path) -> None:
    seen: list[tuple[Phase, Effect]] = []
    with observe(lambda phase, effect: seen.append((phase, effect))):
        write_file(tmp_path / "x", b"one", b"two")
    assert [effect.kind for phase, effect in seen if phase == "after"] == [
        "fsync_folder", "create", "write", "write", "fsync", "rename", "fsync_folder",
    ]  # fmt: skip
    assert [effect.data for phase, effect in seen if phase == "before" and effect.kind == "write"] == [b"one", b"two"]
    assert next(effect.target for _, effect in seen if effect.kind == "rename") == tmp_path / "x"
