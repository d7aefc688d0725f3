"""SIGKILL and I/O errors at every effect of a small stage, with a damaged artefact to redo and an old one to delete."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from autolabel.store import open_draft, recover, write_file
from autolabel.store.hooks import Effect, Phase, observe
from tests.faults import fault_store
from tests.faults.fresh import in_fresh_process
from tests.faults.harness import run_kill_matrix
from tests.faults.small_stage import BATCH, ITEMS, KEY
from tests.faults.tally import Tally


@pytest.mark.slow
def test_store_survives_kills_at_every_effect(ram: Path) -> None:
    tally = fault_store.kills(60, 0, ram)
    assert not tally.bad, "\n".join(tally.bad)
    assert tally.tried > 200


@pytest.mark.slow
@pytest.mark.parametrize(("number", "first"), [(errno.EIO, 0), (errno.ENOSPC, 3)])
def test_store_heals_after_a_failing_call(ram: Path, number: int, first: int) -> None:
    tally = fault_store.failed_effects(number, first, ram)
    assert not tally.bad, "\n".join(tally.bad)
    assert tally.tried > 80


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


BROKEN = ((forgetful, "done again"), (untidy, "left over"), (counting, "another digest"), (in_place, "left over"))


@in_fresh_process
def broken_scenarios(number: int, seed: int, folder: Path) -> Tally:
    """Those among the broken ones that pass all the same."""
    missed = []
    for scenario, message in BROKEN:
        (folder / scenario.__name__).mkdir()
        try:
            run_kill_matrix(scenario, folder / scenario.__name__, batch=BATCH)
            missed.append(scenario.__name__)
        except AssertionError as error:
            missed += [f"{scenario.__name__}: {error}"] * (message not in str(error))
    return Tally("broken scenarios", len(BROKEN), tuple(missed))


def test_harness_catches(ram: Path) -> None:
    assert broken_scenarios(0, 0, ram) == Tally("broken scenarios", 4)


def test_every_effect_shows_in_order_with_its_bytes(tmp_path: Path) -> None:
    seen: list[tuple[Phase, Effect]] = []
    with observe(lambda phase, effect: seen.append((phase, effect))):
        write_file(tmp_path / "x", b"one", b"two")
    assert [effect.kind for phase, effect in seen if phase == "after"] == [
        "fsync_folder", "create", "write", "write", "fsync", "rename", "fsync_folder",
    ]  # fmt: skip
    assert [effect.data for phase, effect in seen if phase == "before" and effect.kind == "write"] == [b"one", b"two"]
    assert next(effect.target for _, effect in seen if effect.kind == "rename") == tmp_path / "x"
