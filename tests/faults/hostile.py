"""One hostile file and what may come of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.cabinet import Cabinet
from tests.faults.fault_wrong_calls import Hang, alarm, inside, judge, snapshot
from tests.helpers.hang import HANG_SECONDS

CANARY = "canary"  # in the current folder: what a file would make if its code were run
OUT = "out"  # the only place where a call may write
REFUSED = frozenset({2, 3})
HARMLESS = frozenset({0})
EITHER = REFUSED | HARMLESS


@dataclass(frozen=True)
class Hostile:
    """`make` lays it into an empty folder, the current one while the command with these `arguments` runs."""

    title: str
    make: Callable[[Path], object]
    arguments: tuple[str, ...]
    codes: frozenset[int] = REFUSED
    after: Callable[[Path], Iterable[str]] = lambda where: ()  # what is wrong with what is there then


def meet(case: Hostile, where: Path) -> list[str]:
    """The faults in how a case ended."""
    from click.testing import CliRunner

    from autolabel.cli.main import cli

    where.mkdir()
    case.make(where)
    before = snapshot(where)
    with inside(where):
        try:
            with alarm():
                result = CliRunner().invoke(cli, list(case.arguments))
        except Hang:
            return [f"{case.title}: hangs: not done after {HANG_SECONDS} s"]
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        return [f"{case.title}: {type(error).__name__}: {str(error)[:300]}"]
    problems = judge(result.exit_code, result.stdout, result.stderr)
    if result.exit_code not in case.codes:
        problems.append(f"exit code {result.exit_code}: {(result.stderr or result.stdout)[:300]}")
    problems += _changed(before, snapshot(where), refused=result.exit_code != 0)
    problems += case.after(where)
    return [f"{case.title}: {problem}" for problem in problems]


# Files of a work folder that hold no result.
BOOKKEEPING = tuple(f"{OUT}/{name}" for name in ("lock", "autolabel-work.json", "input-digests.json"))


def _changed(before: dict[str, object], after: dict[str, object], *, refused: bool) -> list[str]:
    if any(Path(name).name == CANARY for name in after):
        return ["its code was run"]
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    elsewhere = [name for name in changed if Path(name).parts[0] != OUT]
    if elsewhere:
        return [f"changed {elsewhere[:3]}"]
    written = [
        name for name in changed if Path(name).parts[:2] != (OUT, "artefacts") and name not in (OUT, *BOOKKEEPING)
    ]
    committed = [name for name in changed if Path(name).name == "COMMIT"]
    if refused and (committed or [name for name in written if name != f"{OUT}/artefacts"]):
        return [f"refused, and yet written: {[*committed, *written][:3]}"]
    return []


def clear(where: Path) -> None:
    shutil.rmtree(where)


def laid(**files: bytes) -> Callable[[Path], object]:
    """`thing=data`: a file of that name."""
    return lambda where: [(where / name).write_bytes(data) for name, data in files.items()]


Cases = Callable[[Cabinet], list[Hostile]]
