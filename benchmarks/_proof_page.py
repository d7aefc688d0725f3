"""The page of the proof: mean, standard deviation, and paired differences with their intervals."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Collection
from typing import Any

from _proof_tables import RARE, TABLES, Arm, Table

# Two-sided 95 % quantiles of Student's t by degrees of freedom.
STUDENT_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}

FEWEST = 2  # networks of a table on the page: one compares nothing

HEAD = """# The proof

What the method is worth on real images: CamVid, 480 x 360 pixels, 101 validation frames of one recording. `make proof
CAMVID=PATH` runs the main tables and writes this page; one table alone is `python benchmarks/proof.py PATH TABLE`.
Settings were chosen on these validation frames. mIoU in percent, mean and standard deviation over seeds; a difference
is paired by seed, with its 95 % interval (Student's t).
"""


def page(kept: dict[str, Any], num_seeds: int, names: Collection[str], before: str) -> str:
    """The page with the tables `names` made of `kept`; other tables stay as they are in the page `before`."""
    sections = {text.split("\n", 1)[0]: text for text in before.split("\n## ")[1:]}
    parts = [HEAD]
    for name, table in TABLES.items():
        done = [arm for arm in table.arms if results(arm, kept, num_seeds)]
        if name in names and len(done) >= FEWEST:
            parts.append(section(name, table, done, kept, num_seeds))
        elif table.heading in sections:
            parts.append(f"## {sections[table.heading].strip()}\n")
    return "\n".join(parts)


def results(arm: Arm, kept: dict[str, Any], num_seeds: int) -> list[dict[str, Any]]:
    """The results of the seeds that are complete, in order."""
    return [kept[arm.key(seed)] for seed in range(num_seeds) if arm.key(seed) in kept]


def section(name: str, table: Table, done: list[Arm], kept: dict[str, Any], num_seeds: int) -> str:
    base = next((arm for arm in done if arm.title == table.against), None)
    head = ["network", "seeds", "mIoU", *(["difference"] if base else []), *RARE]
    audits = any(arm.audits for arm in done)
    head += ["labels right", "on"] if audits else []
    command = f"`python benchmarks/proof.py PATH {name}`"
    lines = [f"## {table.heading}", "", *textwrap.wrap(table.text, 120, break_on_hyphens=False), command, ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for arm in done:
        rows = results(arm, kept, num_seeds)
        cells = [arm.title, str(len(rows)), spread([100 * row["miou"] for row in rows])]
        if base:
            cells.append("" if arm is base else difference(rows, results(base, kept, num_seeds)))
        cells += [mean([row["iou"][name] for row in rows]) for name in RARE]
        if audits:
            cells += labels(rows)
        lines.append("| " + " | ".join(cells) + " |")
    missing = [arm.title for arm in table.arms if arm not in done]
    lines += ["", *textwrap.wrap(f"Not run: {'; '.join(missing)}.", 120)] if missing else []
    return "\n".join([*lines, ""])


def spread(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def difference(rows: list[dict[str, Any]], base: list[dict[str, Any]]) -> str:
    """Mean of the paired differences, and the half width of its 95 % interval."""
    by_seed = {row["seed"]: row["miou"] for row in base}
    values = [100 * (row["miou"] - by_seed[row["seed"]]) for row in rows if row["seed"] in by_seed]
    if not values:
        return ""
    if len(values) < 2:
        return f"{values[0]:+.1f}"
    half = STUDENT_T[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):+.1f} ± {half:.1f}"


def mean(values: list[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    return f"{statistics.mean(known):.0f}" if known else "-"


def labels(rows: list[dict[str, Any]]) -> list[str]:
    """Accuracy of the labels against the hidden truth, and the fraction of pixels that have one."""
    audits = [row["audit"]["auto_truth"] for row in rows if row["audit"]]
    if not audits:
        return ["", ""]
    return [f"{100 * statistics.mean(audit[key] for audit in audits):.1f} %" for key in ("accuracy", "valid")]
