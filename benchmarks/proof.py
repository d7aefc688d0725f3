"""The proof on real images: what the recipe, the auto labels and the fusions are worth on CamVid.

    python benchmarks/proof.py DATA [TABLE ...] [--seeds 3] [--work work/proof] [--jobs 2] [--page docs/proof.md]

DATA is CamVid as `configs/camvid.toml` describes it. Every training is an `autolabel run`: the proof resumes where it
was stopped, and trainings that two tables share run once. Settings were chosen on val, which is what is reported.
TABLE is one of those below; by default the main ones, which take about eight CPU hours. The page shows the tables of
which at least two networks are complete; tables that were not asked for stay on the page as they are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from _proof_page import page
from _proof_tables import CUTS, MAIN, TABLES, Arm, Result

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / "configs" / "camvid.toml"


def names(file: Path) -> list[str]:
    return [line.strip() for line in file.read_text().splitlines() if line.strip()]


def lay_out(data: Path, work: Path) -> dict[str, Path]:
    """A folder per cut with links to the images and its own lists: cut -> root."""
    roots = {}
    for cut, lists in CUTS.items():
        root = work / "data" / cut
        root.mkdir(parents=True, exist_ok=True)
        for folder in ("train", "trainannot", "trainannot_coarse", "val", "valannot"):
            if not (root / folder).exists():
                (root / folder).symlink_to((data / folder).resolve())
        fine, coarse = (names(data / file) for file in lists.files)
        wanted = {
            "fine.txt": [name for name in fine if lists.keeps(name)][:: lists.every],
            "coarse.txt": [name for name in coarse if lists.keeps(name)],
            "val.txt": names(data / "val.txt"),
        }
        wanted["all.txt"] = [*wanted["fine.txt"], *wanted["coarse.txt"]]
        wanted["none.txt"] = []
        for file, lines in wanted.items():
            (root / file).write_text("".join(f"{line}\n" for line in lines))
        roots[cut] = root
    return roots


def run(arm: Arm, seed: int, roots: dict[str, Path], work: Path) -> Result:
    """Train, label and evaluate as the arm says; what is there already is not made again."""
    sets = (f'data.root="{roots[arm.cut]}"', f"seed={seed}", 'pipeline="teacher_student"')
    sets += (*arm.base, *arm.sets)
    options = [str(BASE), "--work", str(work), *(word for text in sets for word in ("--set", text))]
    program = [sys.executable, "-m", "autolabel"]
    steps = [arm.step, *(["audit"] if arm.audits else [])]
    for step in steps:
        done = subprocess.run([*program, "run", *options, "--until", step, "-q"], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{arm.title}, seed {seed}: {done.stderr.strip()}")
    status = subprocess.run([*program, "status", *options, "--json"], capture_output=True, text=True, check=True)
    paths = {row["name"]: row["path"] for row in json.loads(status.stdout)["stages"]}
    figures = json.loads((Path(paths[arm.step]) / "data" / "evaluation.json").read_text())
    audit = json.loads((Path(paths["audit"]) / "data" / "audit.json").read_text()) if arm.audits else None
    return Result(seed, figures["miou"], figures["iou"], audit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("work/proof"))
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once; each uses one core")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "proof.md")
    options = parser.parse_intermixed_args()
    if unknown := set(options.tables) - TABLES.keys():
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    roots = lay_out(options.data, options.work)
    results = options.work / "results.json"
    kept = json.loads(results.read_text()) if results.exists() else {}
    wanted = options.tables or MAIN
    jobs = [(arm, seed) for table in wanted for seed in range(options.seeds) for arm in TABLES[table].arms]

    before = options.page.read_text() if options.page.exists() else ""
    writing = Lock()

    def make(job: tuple[Arm, int]) -> None:
        arm, seed = job
        # Arms of one seed share a teacher: each worker has a work folder, so that two never wait for one lock.
        result = run(arm, seed, roots, options.work / f"seed-{seed}")
        with writing:
            kept[arm.key(seed)] = result.to_dict()
            results.write_text(json.dumps(kept, indent=1, sort_keys=True))
            options.page.write_text(page(kept, options.seeds, wanted, before))
        print(f"{arm.title}, {arm.cut}, seed {seed}: {result.miou:.4f}", flush=True)

    by_seed: dict[int, list[tuple[Arm, int]]] = {}
    for job in jobs:
        if job[0].key(job[1]) not in kept:
            by_seed.setdefault(job[1], []).append(job)
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda group: [make(job) for job in group], by_seed.values()))
    options.page.write_text(page(kept, options.seeds, wanted, before))


if __name__ == "__main__":
    main()
