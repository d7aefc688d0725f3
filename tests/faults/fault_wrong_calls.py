"""Every command of the command line, given whatever a hand may slip on where it wants another file, folder or value.

No traceback, no hang, one line on stderr, an exit code of the table, and nothing changed but below --work and --out.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tests.faults.cabinet import PLACES, Cabinet, cabinet
from tests.faults.tally import Tally
from tests.helpers.hang import HANG_SECONDS

CODES = {0, 1, 2, 3, 4, 5, 75, 130, 143}  # autolabel/errors.py
PROCESSES = 100  # one in so many calls runs in a process of its own
THING = "thing"
OURS = {"work", "out"}  # parameters that name a place to write to
ALSO_FILES = {"classes"}  # parameters that are text to click and may be a file's name
# Ends a run with one line before it trains: no edge of a bin.
QUICK = ("--set", "label.threshold=0.12345")
VALUES = (
    "", " ", "-1", "0", "nan", "inf", "1e400", "9" * 400, "x", "../x", "a=b", "=", "[", "0.5,1.0", "1x1", "1x", "é",
    "\x1b[31mred", "a\nb", "<script>", "cuda:999", "gpu", "label.threshold=nan", "data.size=[1]", "teacher={}", "true",
)  # fmt: skip


class Hang(BaseException):
    """Not an Exception: no handler of the product may take it for its own."""


@dataclass(frozen=True)
class Call:
    path: tuple[str, ...]  # of the command
    parameter: str
    thing: str  # of the cabinet, or the value itself where it holds none of that name
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"autolabel {' '.join(self.path)} with {self.parameter} = {self.thing[:40]!r}"


def run(number: int, seed: int, folder: Path) -> Tally:
    """At least one call for each command and parameter, as far as `number` goes."""
    things = cabinet(folder / "things")
    before = snapshot(folder / "things")
    rng = random.Random(seed)
    bad: list[str] = []
    calls = choose(things, number, rng)
    for index, call in enumerate(calls):
        where = folder / "call"
        outcome = attempt(call, things, where, process=index % PROCESSES == 0)
        bad += [f"{call}: {problem}" for problem in outcome]
        _clear(where)
    if snapshot(folder / "things") != before:
        bad.append("a call changed what it was only to read")
    return Tally("wrong calls", len(calls), tuple(bad))


def choose(things: Cabinet, number: int, rng: random.Random) -> list[Call]:
    """By turns from each parameter of each command, so that few calls still touch them all."""
    piles = [pile for path, command in commands() for pile in _piles(path, command, things, rng)]
    rng.shuffle(piles)
    turns = (pile[turn] for turn in range(max(map(len, piles))) for pile in piles if turn < len(pile))
    return [call for call, _ in zip(turns, range(number), strict=False)]


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    from autolabel.cli.main import cli

    waiting: list[tuple[tuple[str, ...], click.Command]] = [((), cli)]
    for path, command in waiting:
        if isinstance(command, click.Group):
            context = click.Context(command)
            inner = {name: command.get_command(context, name) for name in command.list_commands(context)}
            waiting += [((*path, name), one) for name, one in sorted(inner.items()) if one is not None]
        else:
            yield path, command


def _piles(path: tuple[str, ...], command: click.Command, things: Cabinet, rng: random.Random) -> Iterator[list[Call]]:
    for parameter in command.params:
        name = str(parameter.name)
        if isinstance(parameter, click.Option) and (parameter.is_flag or parameter.is_eager):
            continue
        takes_files = isinstance(parameter.type, click.Path) or name in ALSO_FILES
        odd = [*things.odd, *PLACES] if takes_files else [*VALUES]
        rng.shuffle(odd)
        yield [Call(path, name, thing, arguments(command, name, _argument_for(thing, things), things)) for thing in odd]


def _argument_for(thing: str, things: Cabinet) -> str:
    return THING if thing in things.odd else thing


def arguments(command: click.Command, odd: str, value: str, things: Cabinet) -> tuple[str, ...]:
    """A call that would do, but for one parameter; without long work."""
    options: list[str] = []
    plain: list[str] = []
    for parameter in command.params:
        name = str(parameter.name)
        good = _good(parameter, things)
        chosen = value if name == odd else good
        if chosen is None:
            continue
        if isinstance(parameter, click.Option):
            options.append(f"{max(parameter.opts, key=len)}={chosen}")
        else:
            plain.append(chosen)
    names = {str(parameter.name) for parameter in command.params}
    quick = (*(QUICK if "overrides" in names else ()), *(["--quiet"] if "quiet" in names else []))
    return (*options, *quick, "--", *plain)


def _good(parameter: click.Parameter, things: Cabinet) -> str | None:
    """None: it is left out."""
    name = str(parameter.name)
    if name in things.good and (parameter.required or isinstance(parameter, click.Argument)):
        return str(things.good[name])
    if name in OURS:
        return f"new-{name}"
    return {"source": "folder", "device": "cpu", "jobs": "1", "size_text": "32x64", "max_frames": "1"}.get(name)


def attempt(call: Call, things: Cabinet, where: Path, *, process: bool) -> list[str]:
    """The faults in how it ended; makes the folder `where`."""
    where.mkdir()
    if call.thing in things.odd:
        things.odd[call.thing](where / THING)
    before = snapshot(where)
    with inside(where):
        ended = (_in_a_process if process and "\0" not in "".join(call.arguments) else _in_this_one)(call)
    allowed = {f"new-{name}" for name in OURS} | ({THING} if call.parameter in OURS else set())
    if call.parameter in OURS and call.thing not in things.odd:
        allowed.add(Path(call.thing).parts[0] if Path(call.thing).parts else ".")
    after = snapshot(where)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    elsewhere = [name for name in changed if not any(name.startswith(place) for place in allowed)]
    if "." in allowed or (call.parameter in OURS and call.thing in ("..", "")):
        elsewhere = []
    return ended + ([f"changed {sorted(elsewhere)[:3]}"] if elsewhere else [])


def _in_this_one(call: Call) -> list[str]:
    from click.testing import CliRunner

    from autolabel.cli.main import cli

    try:
        with alarm():
            result = CliRunner().invoke(cli, [*call.path, *call.arguments])
    except Hang:
        return [f"hangs: not done after {HANG_SECONDS} s"]
    error = result.exception
    if isinstance(error, Hang):
        return [f"hangs: not done after {HANG_SECONDS} s"]
    if error is not None and not isinstance(error, SystemExit):
        return [f"{type(error).__name__}: {error}"[:300]]
    return judge(result.exit_code, result.stdout, result.stderr)


def _in_a_process(call: Call) -> list[str]:
    command = [sys.executable, "-m", "autolabel", *call.path, *call.arguments]
    try:
        done = subprocess.run(
            [os.fsencode(part) for part in command], capture_output=True, timeout=HANG_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return [f"hangs: not done after {HANG_SECONDS} s"]
    return judge(done.returncode, *(text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr)))


def judge(code: int, stdout: str, stderr: str) -> list[str]:
    problems = []
    if code not in CODES:
        problems.append(f"exit code {code}")
    if "Traceback" in stderr:
        problems.append(f"a traceback: {stderr.strip().splitlines()[-1][:300]}")
    lines = stderr.splitlines()
    if code and code != 5 and len(lines) != 1:
        problems.append(f"exit code {code} with {len(lines)} lines on stderr: {stderr[:300]!r}")
    if any(not line.isprintable() for line in (*lines, *stdout.split("\n"))):
        problems.append(f"control characters on the terminal: {(stderr + stdout)[:300]!r}")
    return problems


def snapshot(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below a folder, links not followed, as far as it can be told without opening it."""
    found: dict[str, tuple[Any, ...]] = {}
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(here) / name
            about = path.lstat()
            kind = stat.S_IFMT(about.st_mode)
            content = () if stat.S_ISDIR(kind) else (about.st_size, about.st_mtime_ns)
            found[str(path.relative_to(folder))] = (kind, *content)
    return found


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


@contextmanager
def alarm() -> Iterator[None]:
    def ring(signum: int, frame: object) -> None:
        raise Hang

    previous = signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if not path.is_symlink() and path.is_dir():
            path.chmod(0o700)
    shutil.rmtree(folder)
