"""`autolabel next` against random choice: `python benchmarks/next_images.py CAMVID.toml --work FOLDER`.

Every training image has a hidden truth. A round trains on the images that are labelled so far, makes codes of all
others, and labels eight more: those that `next` chooses, or random ones. Both begin with the same random images, and
both sets have the same size in each round.

To be cheap, a network here is a small head on the frozen trunk of the teacher's settings, at stride 8: its mIoU is
that of cell centres. What it says about `next` is for such a network; a whole training may differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from autolabel.artifacts import read_manifest
from autolabel.audit.cells import cell_index, image_cells
from autolabel.audit.next_images import choose_next, doubt_of
from autolabel.classes import IGNORE
from autolabel.cli.options import open_project
from autolabel.cli.steps import Steps
from autolabel.data.loaders import load_image, load_label
from autolabel.data.manifest import Manifest
from autolabel.evaluation.confusion import confusion_matrix
from autolabel.evaluation.iou import mean_iou
from autolabel.flow.stage import roots_of
from autolabel.labels.calibration import bin_middles
from autolabel.labels.codebook import Codebook
from autolabel.models.layers import normalise
from autolabel.stages.initial_model import load_initial_model
from tests.stages.tiny_pipeline import call

ROUNDS, SEEDS, EACH = 5, 3, 8  # EACH: images that are labelled in a round, and before the first
STRIDE, STEPS, CELLS, HIDDEN = 8, 300, 2048, 96
EDGES = tuple(round(0.1 * step, 1) for step in range(1, 10))


class Frames(NamedTuple):
    """Images of one split: features (N, C, H, W) in half precision, true labels (N, H, W) of their cells."""

    features: torch.Tensor
    labels: NDArray[np.uint8]
    groups: tuple[str, ...]


def frames(manifest: Manifest, roots: dict[str, Path], trunk: torch.nn.Module, split: str) -> Frames:
    features, labels, groups = [], [], []
    for row in manifest.split(split):
        truth = manifest.label(row.id, "truth") or manifest.label(row.id, "fine")
        if truth is None:
            continue
        pixels = torch.from_numpy(load_image(row, roots).copy()).permute(2, 0, 1)[None]
        with torch.inference_mode():
            found = trunk(normalise(pixels))
            parts = [*found.skips.values(), found.high]
            size = found.skips[STRIDE].shape[-2:]
            same = [F.interpolate(part, size, mode="bilinear") for part in parts]
        features.append(torch.cat(same, dim=1)[0].half())
        half = STRIDE // 2
        labels.append(load_label(truth, roots, manifest.classes)[half::STRIDE, half::STRIDE])
        groups.append(row.group)
    return Frames(torch.stack(features), np.stack(labels), tuple(groups))


def trained(data: Frames, chosen: list[int], num_classes: int, seed: int) -> torch.nn.Module:
    """A head of two layers, on the labelled cells of the chosen images."""
    torch.manual_seed(seed)
    inputs = data.features[chosen].float().permute(0, 2, 3, 1).flatten(0, 2)
    labels = torch.from_numpy(data.labels[chosen]).flatten().long()
    inputs, labels = inputs[labels != IGNORE], labels[labels != IGNORE]
    norm = torch.nn.BatchNorm1d(inputs.shape[1], affine=False)
    head = torch.nn.Sequential(
        norm,
        torch.nn.Linear(inputs.shape[1], HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.2),
        torch.nn.Linear(HIDDEN, num_classes),
    )
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    counts = torch.bincount(labels, minlength=num_classes).float()
    weights = (counts / counts.sum()).clamp(min=1e-4) ** -0.5
    for _ in range(STEPS):
        batch = torch.randint(len(labels), (CELLS,))
        loss = F.cross_entropy(head(inputs[batch]), labels[batch], weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head.eval()


def predicted(head: torch.nn.Module, features: torch.Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Class and probability (H, W) of one image."""
    with torch.inference_mode():
        probabilities = head(features.float().permute(1, 2, 0).flatten(0, 1)).softmax(dim=1)
    highest, classes = (part.numpy().reshape(features.shape[1:]) for part in probabilities.max(dim=1))
    return classes.astype(np.uint8), highest


def score(head: torch.nn.Module, data: Frames, num_classes: int) -> float:
    pairs = zip(data.features, data.labels, strict=True)
    return mean_iou(sum(confusion_matrix(predicted(head, x)[0], label, num_classes) for x, label in pairs))


def by_next(head: torch.nn.Module, data: Frames, left: list[int], chosen: list[int], book: Codebook) -> list[int]:
    """As the command chooses, before an audit: by the network's own probabilities."""
    rows = []
    for n in left:
        classes, highest = predicted(head, data.features[n])
        codes = (classes * book.bins + np.searchsorted(np.array(book.edges), highest)).astype(book.dtype)
        rows.append((str(n), image_cells(book, codes, classes, None)))
    index = cell_index(rows, book.num_classes, book.bins)
    right = np.tile(bin_middles(book), (book.num_classes, 1))
    pixels = np.bincount(data.labels[chosen].ravel(), minlength=256)[: book.num_classes]
    picked = choose_next(doubt_of(index, right), [data.groups[n] for n in left], pixels, EACH)
    return [left[row.image] for row in picked]


def rounds(train: Frames, val: Frames, book: Codebook, seed: int, how: str) -> list[float]:
    """mIoU before the first round, and after each."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(train.labels))[:EACH].tolist()
    choose: dict[str, Callable[[torch.nn.Module, list[int]], list[int]]] = {
        "next": lambda head, left: by_next(head, train, left, chosen, book),
        "random": lambda head, left: rng.permutation(left)[:EACH].tolist(),
    }
    found = []
    for number in range(ROUNDS + 1):
        head = trained(train, chosen, book.num_classes, seed)
        found.append(score(head, val, book.num_classes))
        if number < ROUNDS:
            left = sorted(set(range(len(train.labels))) - set(chosen))
            chosen = chosen + choose[how](head, left)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    project = open_project(options.experiment, work=options.work, overrides=tuple(options.overrides))
    words = [word for text in options.overrides for word in ("--set", text)]
    result = call("manifest", options.experiment, "--work", project.work, "-q", *words)
    assert result.exit_code == 0, result.output
    (data,) = Steps(project).open_fresh(next(iter(project.pipeline.nodes.values())))
    manifest = read_manifest(data)
    trunk = load_initial_model(project.experiment.teacher, manifest.classes.names).model.trunk.eval()
    roots = dict(roots_of(project.experiment, {"data": data}))
    train, val = (frames(manifest, roots, trunk, split) for split in ("train", "val"))
    print(f"{len(train.labels)} images to choose from, {len(val.labels)} held-out ones", file=sys.stderr)
    book, found = Codebook(manifest.classes.num_classes, EDGES), {}
    for how in ("next", "random"):
        found[how] = np.array([rounds(train, val, book, seed, how) for seed in range(SEEDS)])
        for number in range(ROUNDS + 1):
            each = 100 * found[how][:, number]
            shown = ", ".join(f"{value:.1f}" for value in each)
            print(f"{how:6} {EACH * (number + 1):3} images: mIoU {each.mean():.1f} ({shown})", flush=True)
    gain = 100 * (found["next"] - found["random"])[:, 1:]
    print(f"next - random, mean over {ROUNDS} rounds by seed: {', '.join(f'{v:+.1f}' for v in gain.mean(axis=1))}")
    print(f"next - random, after the last round by seed: {', '.join(f'{v:+.1f}' for v in gain[:, -1])}")


if __name__ == "__main__":
    main()
