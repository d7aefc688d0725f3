"""Attention-guided skipping on real pictures: disk to disk, a trained teacher, a curve over `infer.skip`.

`skip.time_ratio` and `skip.agreement` are at SKIP: the median over pictures of published / our seconds, and the share
of pixels whose label equals the published path's dense one. `skip.curve` has the same for other values, 0 is dense;
its time is relative to our dense path.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _dense import SCALES
from _measure import seconds
from _scopes import SCOPES, Case
from PIL import Image

from autolabel.inference.teacher import Teacher
from autolabel.labels.codes import CodeBook
from autolabel.models import NetworkCard, SegmentationModel, network_from_bytes

SKIP = 0.03
CURVE = (0.0, 0.003, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 1.0)
HERE = Path(__file__).resolve().parent
EXPERIMENT = HERE.parent / "configs" / "camvid_w18.toml"
DATA = HERE.parents[1] / "shared" / "camvid"
WORK = Path(tempfile.gettempdir()) / "autolabel-skip-teacher"


def measure(device: str, *, weights: Path | None, pictures: Path | None, work: Path, every: int) -> dict[str, Any]:
    """Of every `every`-th picture in the folder `pictures`, by the network in the file `weights`."""
    pictures = pictures or DATA / "val"
    if not pictures.is_dir() or (weights is None and not DATA.is_dir()):
        print(f"skip: neither --teacher and --pictures nor {DATA}, to train on and to label: left out", file=sys.stderr)
        return {}
    file = weights or _trained(work)
    network, card = network_from_bytes(file.read_bytes(), file)
    assert isinstance(network, SegmentationModel), type(network)
    with tempfile.TemporaryDirectory() as folder:
        found = list(_labelled(network, card, sorted(pictures.iterdir())[::every], Path(folder), device))
    ratios = [theirs / ours[SKIP][0] for theirs, ours in found]
    rows = [_row(skip, [ours for _, ours in found]) for skip in CURVE]
    return {
        "skip.value": SKIP,
        "skip.images": len(found),
        "skip.time_ratio": statistics.median(ratios),
        "skip.dense_time_ratio": statistics.median(theirs / ours[0.0][0] for theirs, ours in found),
        "skip.agreement": next(row["agreement"] for row in rows if row["skip"] == SKIP),
        "skip.curve": rows,
    }


Measured = dict[float, tuple[float, float, float]]  # skip -> seconds, agreement, share skipped


def _labelled(
    network: SegmentationModel, card: NetworkCard, files: list[Path], folder: Path, device: str
) -> Iterator[tuple[float, Measured]]:
    """Of each picture the published path's seconds, and what ours does."""
    book = CodeBook(network.num_classes)
    teachers = {skip: Teacher(network, card, book, scales=SCALES, device=device, skip=skip) for skip in CURVE}
    plain = network.to(device=device, memory_format=torch.contiguous_format)
    autocast = torch.autocast(device, enabled=False)
    theirs, ours = SCOPES["disk"]
    source, target = folder / "picture.png", folder / "label.png"
    for number, file in enumerate([files[0], *files]):  # the first once more: it does not count
        Image.fromarray(np.array(Image.open(file).convert("RGB"))).save(source)
        case = Case(plain, next(iter(teachers.values())), autocast, source, target)
        published = seconds(theirs.start(case), device)
        expected = theirs.labels(case, None)
        measured: Measured = {}
        for skip, teacher in teachers.items():
            case = case._replace(teacher=teacher)
            taken = seconds(ours.start(case), device)
            skipped, pixels = teacher.take_skipped()
            measured[skip] = taken, float(np.mean(ours.labels(case, None) == expected)), skipped / max(1, pixels)
        if number:
            yield published, measured


def _row(skip: float, found: list[Measured]) -> dict[str, float]:
    return {
        "skip": skip,
        "skipped": float(np.mean([measured[skip][2] for measured in found])),
        "time": statistics.median(measured[skip][0] / measured[0.0][0] for measured in found),
        "agreement": float(np.mean([measured[skip][1] for measured in found])),
        "lowest_agreement": float(min(measured[skip][1] for measured in found)),
    }


def table(rows: list[dict[str, float]]) -> str:
    """The curve for people."""
    lines = ["infer.skip  tiles left out  time, dense = 1  agreement  lowest of a picture"]
    lines += [
        f"{row['skip']:<10g}  {row['skipped']:>14.1%}  {row['time']:>15.2f}  {row['agreement']:>9.2%}"
        f"  {row['lowest_agreement']:>19.2%}"
        for row in rows
    ]
    return "\n".join(lines)


def _trained(work: Path) -> Path:
    """Weights of the teacher of EXPERIMENT, trained in the folder `work` unless it is there already."""
    common = [sys.executable, "-m", "autolabel"]
    where = [str(EXPERIMENT), "--work", str(work), "--set", f"data.root='{DATA}'"]
    subprocess.run([*common, "run", *where, "--until", "teacher"], check=True, stdout=sys.stderr)
    status = subprocess.run([*common, "status", *where, "--json"], check=True, capture_output=True, text=True)
    path = next(stage["path"] for stage in json.loads(status.stdout)["stages"] if stage["name"] == "teacher")
    return Path(path) / "data" / "weights.safetensors"
