"""One flipped bit: in every kind of file of committed artefacts, and in drafts that a killed run has left."""

from __future__ import annotations

import random
import re
import shutil
from collections import defaultdict
from pathlib import Path

from click.testing import CliRunner

from autolabel.cli.verify import verify
from autolabel.store import find_problems, scan
from tests.faults import harness, minute
from tests.faults.fresh import in_fresh_process
from tests.faults.tally import Tally

_CLI_EVERY, _CONSUMER_EVERY, _DRAFT_EVERY = 20, 25, 8
# Where the draft of a step can be hit: it leaves a journal, files, state.
_DRAFTS = ("label", "label", "label", "infer", "teacher", "student", "manifest", "evaluate-student")


@in_fresh_process
def bit_flips(number: int, seed: int, folder: Path) -> Tally:
    """Most are looked for by `verify`; some by the command line, by the step that reads the file, or in drafts."""
    rng, bad = random.Random(seed), list[str]()
    made = minute.make(folder / "minute", seed)
    for tried in range(number):
        if tried % _CONSUMER_EVERY == 0:
            bad += before_consumer(made, rng)
        elif tried % _DRAFT_EVERY == 0:
            bad += in_draft(made, rng.choice(_DRAFTS), rng)
        else:
            bad += in_artefact(made, rng, by_command=tried % _CLI_EVERY == 1)
    return Tally("bit flips", number, tuple(bad))


def flip(path: Path, rng: random.Random) -> bytes:
    """Flips one bit of a file; returns what it held before."""
    before = path.read_bytes()
    content = bytearray(before)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return before


def in_artefact(made: minute.Minute, rng: random.Random, *, by_command: bool = False) -> list[str]:
    """A full verification names the very file, and no other."""
    path = _any_file(made.whole, rng, "")
    folder = made.whole.joinpath(*path.relative_to(made.whole).parts[:3])
    name = path.relative_to(folder).as_posix()
    before = flip(path, rng)
    try:
        problems = _by_command(made) if by_command else find_problems(folder, full=True)
    finally:
        path.write_bytes(before)
    named = [problem for problem in problems if name in problem]
    wanted = problems and named == problems
    return [] if wanted else [f"bit flips: {path.relative_to(made.folder)}: verify said {problems}"]


def _by_command(made: minute.Minute) -> list[str]:
    arguments = [str(made.folder / "experiment.toml"), "--work", str(made.whole), "--full"]
    result = CliRunner().invoke(verify, arguments)
    *problems, _ = result.stdout.splitlines()
    return problems


def before_consumer(made: minute.Minute, rng: random.Random) -> list[str]:
    """The next step puts the artefact aside and makes it again: the digests are those of an undisturbed run."""
    node = rng.choice([node for node in made.nodes() if node.inputs])
    damaged = rng.choice([source.name for source in node.inputs.values()])
    root = made.folder / "run"
    shutil.copytree(made.whole, root)
    shutil.rmtree(root / "artefacts" / node.name)
    path = _any_file(root, rng, re.escape(f"artefacts/{damaged}/"))
    flip(path, rng)
    where = f"bit flips: {path.relative_to(root)} before {node.name}"
    done = harness.run(made.scenario(node.name), root)
    names = _names(root)
    aside = {name for name in names if ".corrupt-1" in name}
    kept = {name.split("/")[1] for name in aside}
    left = names - aside ^ _names(made.whole)
    shutil.rmtree(root)
    if done.digest != digest_of(made, node.name):
        return [f"{where}: {done.error or 'another digest'}"]
    return [] if kept == {damaged} and not left else [f"{where}: aside {sorted(kept)}, other names {sorted(left)}"]


def in_draft(made: minute.Minute, step: str, rng: random.Random) -> list[str]:
    """A draft goes on to the same digest, or is refused once, put aside, and made anew."""
    target = made.case(step)
    root, files = made.folder / "run", list[Path]()
    while not files:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(target.template, root)
        harness.run(target.scenario, root, at=rng.randrange(target.num_points // 4, target.num_points))
        drafts = [f.path for f in scan(root / "artefacts") if f.kind == "draft"]
        files = [path for draft in drafts for path in draft.rglob("*") if _counts(path, root)]
    damaged = rng.choice(files)
    flip(damaged, rng)
    where = f"bit flips: {damaged.relative_to(root)} of a draft"
    runs = [harness.run(target.scenario, root)]
    if runs[0].error.startswith(("StoreError", "CorruptArtefact")):
        runs.append(harness.run(target.scenario, root))
    problems = [p for f in scan(root / "artefacts") if f.kind == "committed" for p in find_problems(f.path, full=True)]
    shutil.rmtree(root)
    # A draft that was complete has become the artefact as it was: then the damage shows as in any artefact.
    unnamed = [problem for problem in problems if damaged.name not in problem]
    if runs[-1].digest == target.digest and not unnamed:
        return []
    return [f"{where}: {runs[-1].error or runs[-1].digest}, verify said {problems}"]


def digest_of(made: minute.Minute, step: str) -> str:
    return made.case(step).digest


def _any_file(root: Path, rng: random.Random, pattern: str) -> Path:
    """First a kind of file (the step and its name without numbers), then one of that kind."""
    kinds: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if re.match(pattern, name) and _counts(path, root):
            kinds[name.split("/")[1] + re.sub(r"[0-9]+", "#", "/".join(name.split("/")[3:]))].append(path)
    return rng.choice(kinds[rng.choice(sorted(kinds))])


def _counts(path: Path, root: Path) -> bool:
    """Logs and the lock are promised nothing; an empty file has no bit."""
    parts = path.relative_to(root).parts
    return path.is_file() and parts[0] == "artefacts" and parts[3] != "log" and path.stat().st_size > 0


def _names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.name != "lock"}
