"""A stand-in for a trained teacher: codes made from true masks, with errors and a confidence that suspects them.

Its labels are as real ones are where it matters to tests of labels: errors come in regions and along borders, groups of
images differ, and the confidence is too high.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from autolabel.artifacts import (
    TRAINED_ON_FILE,
    WEIGHTS,
    CodesMeta,
    ShardEntry,
    TrainedOn,
    read_manifest,
    write_shard_index,
)
from autolabel.cli.options import Project
from autolabel.data.loaders import load_label
from autolabel.data.manifest import unlabelled_images
from autolabel.data.schema import ImageRow
from autolabel.flow.graph import Node
from autolabel.flow.keys import input_identities, key_document, stage_key
from autolabel.flow.stage import roots_of
from autolabel.flow.status import status
from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import write_shard
from autolabel.store import Artefact, Draft, hold_lock, open_draft

CHUNK = 32


def smooth(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> np.ndarray:
    """(H, W) smooth noise of about unit variance; `cell` pixels are alike."""
    height, width = shape
    small = rng.standard_normal((height // cell + 3, width // cell + 3)).astype(np.float32)
    image = Image.fromarray(small).resize((width + 2 * cell, height + 2 * cell), Image.Resampling.BICUBIC)
    field = np.asarray(image)[cell : cell + height, cell : cell + width]
    return field / max(float(field.std()), 1e-6)


def predict(
    truth: np.ndarray, num_classes: int, rng: np.random.Generator, hardness: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class, stated probability and second class of every pixel (H, W)."""
    border = np.zeros(truth.shape, np.float32)
    for axis in (0, 1):
        border += np.roll(truth, 2, axis) != np.roll(truth, -2, axis)
    rare = 1 / np.sqrt(np.bincount(truth.ravel(), minlength=256)[truth] / truth.size + 0.003)
    doubt = smooth(rng, truth.shape, 24) + 0.9 * border + 0.1 * rare + hardness
    right = 1 / (1 + np.exp(1.7 * doubt - 3.6))
    chance = 0.5 * (1 + np.tanh(0.8 * smooth(rng, truth.shape, 9)))
    others = (
        truth
        + 1
        + rng.integers(0, num_classes - 1, (truth.shape[0] // 12 + 1, truth.shape[1] // 12 + 1))
        .repeat(12, 0)
        .repeat(12, 1)[: truth.shape[0], : truth.shape[1]]
    ) % num_classes
    hidden = truth >= num_classes
    is_right = (chance < right) & ~hidden
    base = np.where(hidden, 0, truth)
    others = np.where(others == base, (base + 1) % num_classes, others)
    classes = np.where(is_right, base, others)
    stated = np.clip(right + 0.5 * (1 - right) * right + 0.03 * smooth(rng, truth.shape, 5), 0.12, 0.9999)
    return classes.astype(np.uint8), stated, np.where(is_right, others, base).astype(np.uint8)


def codes_of(book: Codebook, classes: np.ndarray, stated: np.ndarray, second: np.ndarray) -> np.ndarray:
    bins = np.searchsorted(np.array(book.edges), stated, side="left")
    codes = classes.astype(np.int64) * book.bins + bins
    if book.second_below:
        codes = codes * book.seconds + np.where(bins < book.bins_with_second, second, book.num_classes)
    return codes.astype(book.dtype)


def commit(project: Project, node: Node, fill: Callable[[Draft], dict]) -> Artefact:
    """An artefact of a step, under the key that its settings and inputs have."""
    steps = {step.name: step for step in status(project.pipeline, project.work)}
    inputs = {name: Artefact.open(steps[source.name].path) for name, source in node.inputs.items()}
    document = key_document(node, input_identities(node, inputs))
    draft = open_draft(project.work / "artefacts" / node.name, stage_key(document))
    return draft.commit(meta=fill(draft), provenance={"key": document, "bad_items": 0})


def stand_in_teacher(project: Project) -> None:
    """Commits the teacher and its codes, from fine labels and the hidden truth; the manifest must be there."""
    nodes = {
        node.stage.name: node for node in project.pipeline.nodes.values() if node.stage.name in ("teacher", "infer")
    }
    step = next(s for s in status(project.pipeline, project.work) if s.stage == "manifest")
    data = Artefact.open(step.path)
    manifest = read_manifest(data)
    roots, names = roots_of(project.experiment, {"data": data}), manifest.classes.names
    book = Codebook(len(names), project.experiment.infer.edges, second_below=project.experiment.infer.second_below)

    def teacher(draft: Draft) -> dict:
        draft.write(WEIGHTS, b"none")
        TRAINED_ON_FILE.write(draft, TrainedOn(images=[], complete=True))
        return {"steps": 0, "images": 0, "trained_on": "fine", "miou": None}

    def codes(row: ImageRow) -> np.ndarray:
        label = manifest.label(row.id, "truth") or manifest.label(row.id, "fine")
        truth = load_label(label, roots, manifest.classes)
        rng = np.random.default_rng(zlib.crc32(row.id.encode()))
        drive = np.random.default_rng(zlib.crc32(row.group.encode())).uniform(-0.5, 0.5)
        return codes_of(book, *predict(truth, len(names), rng, drive))

    def infer(draft: Draft) -> dict:
        entries = []
        for prefix, split, rows in (
            ("codes", "train", unlabelled_images(manifest)),
            ("val", "val", manifest.split("val")),
        ):
            for number, start in enumerate(range(0, len(rows), CHUNK)):
                name, part = f"{prefix}-{number:05}.h5", rows[start : start + CHUNK]
                draft.write(name, write_shard([(r.id, codes(r)) for r in part], book, class_names=names, split=split))
                entries.append(ShardEntry(name, split, tuple(r.id for r in part)))
        write_shard_index(draft, book, entries)
        counts = {s: sum(len(e.ids) for e in entries if e.split == s) for s in ("train", "val")}
        return CodesMeta(to_label=counts["train"], val=counts["val"], edges=list(book.edges))

    with hold_lock(project.work / "lock"):
        commit(project, nodes["teacher"], teacher)
        commit(project, nodes["infer"], infer)
