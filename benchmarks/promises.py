"""Promised thresholds and calibration on a real label set: `python benchmarks/promises.py EXPERIMENT --work FOLDER`.

The images to label must have hidden truth, and the codes must be there (`autolabel run EXPERIMENT --until infer`). In
each of 500 random splits half of the units choose thresholds with a promise, and the other half tests it. Units are the
groups of the data (drives), runs of neighbouring frames, or single images; with single images, frames of a drive lie on
both sides. `--stand-in` makes codes from the true masks, with errors in regions and along borders, drives that differ,
and a confidence that is too high (`tests/helpers/stand_in.py`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from autolabel.artifacts import read_manifest, read_shard_index
from autolabel.audit.choose_thresholds import Aim, HeldOutCounts, choose
from autolabel.audit.risk import image_excess, unit_means
from autolabel.cli.options import Project, open_project
from autolabel.cli.steps import Steps
from autolabel.data.loaders import load_label
from autolabel.flow.stage import roots_of
from autolabel.labels.calibration import CellCounts, bin_middles, calibrate, calibration_error, count_cells
from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import read_shard
from tests.helpers.stand_in import stand_in_teacher
from tests.stages.tiny_pipeline import call

SPLITS, RUN = 500, 10  # RUN: neighbouring frames that make a unit


class Measured:
    """Counts (N, K, B) of every image with codes and a truth, in the order of its name."""

    def __init__(self, project: Project) -> None:
        nodes = {node.stage.name: node for node in project.pipeline.nodes.values()}
        data, codes = Steps(project).open_fresh(nodes["manifest"], nodes["infer"])
        manifest, index = read_manifest(data), read_shard_index(codes)
        roots, found = roots_of(project.experiment, {"data": data}), {}
        for entry in index.shards:
            shard = read_shard(codes.read(entry.name))
            for image_id in shard.ids:
                label = manifest.label(image_id, "truth") or manifest.label(image_id, "fine")
                if label is not None:
                    maps = index.book.classes_and_bins(shard.codes(image_id))
                    found[image_id] = count_cells(index.book, *maps, load_label(label, roots, manifest.classes))
        self.ids = sorted(found)
        self.book, self.names = index.book, manifest.classes.names
        self.kept, self.right = (np.stack([found[i][part] for i in self.ids]).astype(np.uint32) for part in (0, 1))
        self.groups = [manifest.image(image_id).group for image_id in self.ids]

    def units(self, kind: str) -> list[str]:
        runs = [f"{group} {n // RUN}" for n, group in enumerate(self.groups)]
        return {"groups": self.groups, "runs": runs, "images": self.ids}[kind]


def split(rng: np.random.Generator, units: list[str]) -> np.ndarray:
    """(N,) bool: images whose unit calibrates; the other half of the units tests."""
    names = sorted(set(units))
    chosen = set(rng.permutation(names)[: max(len(names) // 2, 1)].tolist())
    return np.array([unit in chosen for unit in units])


def promises(measured: Measured, kind: str, by: str, aim: Aim) -> tuple[int, int, int]:
    """Promises that were made, those that the other half of the units exceeds, and the number of units.

    Units of the split are of `kind`; the promise takes units of `by`.
    """
    rng, made, broken = np.random.default_rng(0), 0, 0
    units, judged = measured.units(kind), measured.units(by)
    steps = [0.0, *measured.book.edges]
    pixels = measured.kept.sum(axis=(1, 2), dtype=np.int64)
    for _ in range(SPLITS):
        own = split(rng, units)
        calibrating = [unit for unit, is_own in zip(judged, own, strict=True) if is_own]
        rest = [unit for unit, is_own in zip(judged, own, strict=True) if not is_own]
        counts = HeldOutCounts(measured.kept[own], measured.right[own], pixels[own], calibrating)
        for k, row in enumerate(choose(counts, measured.names, steps, aim).values()):
            if row["threshold"] is None:
                continue
            made += 1
            tables = (measured.kept, measured.right)
            kept, right = (
                table[~own, k, steps.index(row["threshold"]) :].sum(axis=1).astype(float) for table in tables
            )
            assert aim.max_error is not None
            excess = unit_means(image_excess(kept - right, kept, pixels[~own].astype(float), aim.max_error), rest)
            broken += bool(excess.mean() > 0)
    return made, broken, len(set(units))


def calibration(measured: Measured) -> tuple[float, float]:
    """Mean calibration error of the network's own number, and of the estimate from the other half of the runs."""
    rng, raw, ours = np.random.default_rng(0), [], []
    units = measured.units("runs")
    for _ in range(20):
        own = split(rng, units)
        halves = [cells_of(measured, part) for part in (own, ~own)]
        middles = np.broadcast_to(bin_middles(measured.book), halves[1].pixels.shape)
        raw.append(calibration_error(halves[1], middles))
        ours.append(calibration_error(halves[1], calibrate(halves[0])))
    return float(np.mean(raw)), float(np.mean(ours))


def cells_of(measured: Measured, chosen: np.ndarray) -> CellCounts:
    cells = CellCounts(Codebook(len(measured.names), measured.book.edges))
    n, r = (table[chosen].astype(float) for table in (measured.kept, measured.right))
    cells.images = int(chosen.sum())
    cells.present, cells.pixels, cells.right = (n > 0).sum(axis=0).astype(float), n.sum(axis=0), r.sum(axis=0)
    cells.nn, cells.nr, cells.rr = (n * n).sum(axis=0), (n * r).sum(axis=0), (r * r).sum(axis=0)
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--max-error", type=float, action="append")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--stand-in", action="store_true", help="make the codes from true masks, without a teacher")
    options = parser.parse_args()
    project = open_project(options.experiment, work=options.work, overrides=tuple(options.overrides))
    if options.stand_in:
        words = [word for text in options.overrides for word in ("--set", text)]
        result = call("manifest", options.experiment, "--work", project.work, "-q", *words)
        assert result.exit_code == 0, result.output
        stand_in_teacher(project)
    measured = Measured(project)
    raw, ours = calibration(measured)
    print(f"calibration error {100 * raw:.2f} % stated, {100 * ours:.2f} % calibrated on the other half")
    for max_error in options.max_error or (0.05, 0.1, 0.2):
        for kind, by in (("groups", "groups"), ("runs", "runs"), ("images", "images"), ("groups", "images")):
            made, broken, number = promises(measured, kind, by, Aim(max_error=max_error))
            share = f"{100 * broken / made:.1f} % exceeded" if made else "none was made"
            what = f"split by {kind} ({number}), units are {by}"
            print(f"at most {100 * max_error:.0f} %: {what}: {made} promises, {share}")


if __name__ == "__main__":
    main()
