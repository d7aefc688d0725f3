"""Mutation testing: change one operator, constant or argument at a time, and see whether a test fails.

    python tests_mutants/sample.py [store flow labels stages] [--count 40] [--seed 0] [--slow] [--mutants 'PATTERN' ...]

Makes the mutants of `autolabel/PACKAGE` with mutmut, draws a sample of them, and runs for each the tests of the package
that reach the changed function, until one fails. The tests marked `slow` are left out unless `--slow` is there. Prints
the share that was caught and the change of every survivor. Works in `work/mutants/PACKAGE` on a copy of the sources.
With `--mutants` the mutants of these names are tried instead of a sample.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("autolabel", "streetscenes", "pipelines", "configs", "data_manifest", "benchmarks", "tests")
TESTS = {  # the tests of a package; a mutant that lives past them may be caught by tests of other packages
    "store": ["tests/store", "tests/test_user_files.py"],
    "flow": ["tests/flow", "tests/data/test_parts.py", "tests/stages/test_environment.py"],
    "labels": ["tests/labels", "--ignore=tests/labels/test_bench_codes.py"],
    "stages": ["tests/stages", "--ignore=tests/stages/test_formats_page.py"],
}
SETTINGS = """
[tool.mutmut]
source_paths = ["autolabel"]
only_mutate = ["autolabel/{package}/*.py"]
also_copy = {copied}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-m", "{markers}"]
pytest_add_cli_args_test_selection = {tests}
timeout_constant = 10.0  # seconds: a busy machine must not make a survivor a timeout
process_isolation = "forkserver"  # a fork of a process that has run tests may hang: it lacks their threads
use_git_change_detection = false
"""
NO_MUTANT = "no.such.mutant"


def prepare(package: str, folder: Path, markers: str) -> None:
    """Copy the sources and the settings of mutmut to `folder`; what is there is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "mutants").mkdir(parents=True)  # Python looks once whether a folder of PYTHONPATH is there
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    others = [name for name in COPIED if name != "autolabel"]
    settings = SETTINGS.format(
        package=package, copied=json.dumps(others), markers=markers, tests=json.dumps(TESTS[package])
    )
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + settings)


def mutmut(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(folder / "mutants"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def results(folder: Path) -> dict[str, str]:
    """The state of every mutant by its name."""
    found = {}
    for file in sorted((folder / "mutants").rglob("*.py.meta")):
        for name, code in json.loads(file.read_text())["exit_code_by_key"].items():
            found[name] = status_by_exit_code[code]
    return found


def mutants_of(folder: Path) -> list[str]:
    """Make the mutants and the table of the tests that reach each: a name without a match ends mutmut after that."""
    log = mutmut(folder, "run", "--max-children", "1", NO_MUTANT).stdout
    made = sorted(results(folder))
    if not made or not (folder / "mutants" / "mutmut-stats.json").is_file():
        raise SystemExit(f"mutmut made no mutants, or a test fails without any:\n{log[-4000:]}")
    return made


def try_package(package: str, options: argparse.Namespace) -> tuple[int, int]:
    """Print the states of the package's sample; return how many were caught and how many tried."""
    folder = ROOT / "work" / "mutants" / package
    prepare(package, folder, "not exhaustive" if options.slow else "not exhaustive and not slow")
    made = mutants_of(folder)
    if options.mutants:
        sample = [name for name in made if any(fnmatch.fnmatch(name, pattern) for pattern in options.mutants)]
    else:
        sample = random.Random(options.seed).sample(made, min(options.count, len(made)))
    if not sample:
        return 0, 0
    log = mutmut(folder, "run", "--max-children", "1", *sample).stdout
    states = {name: state for name, state in results(folder).items() if name in set(sample)}
    if "not checked" in states.values():
        raise SystemExit(f"mutmut did not try all:\n{log[-4000:]}")
    caught = [name for name, state in states.items() if state in ("killed", "timeout", "segfault")]
    print(f"{package}: {len(caught)} of {len(sample)} caught, {len(made)} in all", flush=True)
    for name in sorted(states.keys() - set(caught)):
        print(f"\n{states[name]}\n{mutmut(folder, 'show', name).stdout}", flush=True)
    return len(caught), len(sample)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ["store", "flow", "labels"]
    parser.add_argument("packages", nargs="*", default=default, metavar="PACKAGE", help=", ".join(TESTS))
    parser.add_argument("--count", type=int, default=40, help="mutants of each package")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--slow", action="store_true", help="run tests marked slow as well")
    parser.add_argument("--mutants", nargs="+", metavar="PATTERN", help="try these instead of a sample")
    options = parser.parse_args()
    if unknown := set(options.packages) - TESTS.keys():
        parser.error(f"no such package: {', '.join(sorted(unknown))}; there are {', '.join(TESTS)}")
    counts = [try_package(package, options) for package in options.packages]
    caught, tried = map(sum, zip(*counts, strict=True))
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    minutes = (usage.ru_utime + usage.ru_stime) / 60
    print(f"\n{caught} of {tried} caught ({100 * caught / max(1, tried):.1f} %), {minutes:.1f} CPU minutes")


if __name__ == "__main__":
    main()
