"""CPU seconds until a review of many images shows its page: `python benchmarks/review.py --images 20000`.

The label set lies in a temporary folder. It has as many files and rows as a real one, but its images are tiny. A new
process opens it, so imports count too; the baseline is a process that only imports what the review imports.
"""

from __future__ import annotations

import argparse
import http.client
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import numpy as np

from autolabel.artifacts import (
    TRAINED_ON_FILE,
    WEIGHTS,
    CodesMeta,
    ShardEntry,
    TrainedOn,
    write_manifest,
    write_shard_index,
)
from autolabel.classes import CLASS_SETS
from autolabel.cli.options import open_project
from autolabel.config.sources import SyntheticConfig
from autolabel.data.manifest import ImageRow, LabelRow, Manifest, unlabelled_images
from autolabel.data.parts import part_digests
from autolabel.data.sources.synthetic import scenes
from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import write_shard
from autolabel.store import Draft, hold_lock
from tests.helpers.stand_in import commit
from tests.stages.tiny_pipeline import call

SIDE, CHUNK = 8, 32


def experiment(folder: Path, images: int) -> Path:
    file = folder / "many.toml"
    data = f'source = "synthetic"\nsize = [{SIDE}, {SIDE}]\nnum_fine = 1\nnum_coarse = {images}\nnum_val = 1\n'
    file.write_text(f'name = "many"\n[data]\n{data}[label]\nthreshold = 0.5\n')
    return file


def manifest_of(settings: SyntheticConfig) -> Manifest:
    """The rows of a manifest; no image stands behind them."""
    classes, file = CLASS_SETS["synthetic"], {"root": "data", "sha256": "0" * 64, "bytes": 100}
    counts = (SIDE * SIDE, *[0] * classes.num_classes)
    images, labels = [], []
    for _, image in scenes(settings):
        size = {"width": SIDE, "height": SIDE}
        images.append(ImageRow(id=image.id, split=image.split, group=image.group, path=image.path, **file, **size))
        for label in image.labels:
            own = {"path": label.path, "counts": counts, "provenance": "", **file}
            labels.append(LabelRow(image_id=image.id, role=label.role, encoding=label.encoding, **own))
    return Manifest(classes, tuple(images), tuple(labels))


def make(file: Path, work: Path, number: int) -> None:
    """Manifest, teacher and codes under the keys of the experiment; its labels are cut by the stage."""
    project = open_project(file, work=work, overrides=())
    nodes = {node.stage.name: node for node in project.pipeline.nodes.values()}
    manifest = manifest_of(project.experiment.data)
    book, rng = Codebook(manifest.classes.num_classes), np.random.default_rng(0)

    def listed(draft: Draft) -> dict:
        write_manifest(draft, manifest)
        classes = list(manifest.classes.names)
        return {"images": {}, "labels": {}, "classes": classes, "findings": [], "parts": part_digests(manifest)}

    def teacher(draft: Draft) -> dict:
        draft.write(WEIGHTS, b"none")
        TRAINED_ON_FILE.write(draft, TrainedOn(images=[], complete=True))
        return {"steps": 0, "images": 0, "trained_on": "fine", "miou": None}

    def infer(draft: Draft) -> dict:
        rows, entries = unlabelled_images(manifest), []
        for place in range(0, len(rows), CHUNK):
            ids = tuple(row.id for row in rows[place : place + CHUNK])
            maps = [(image_id, rng.integers(0, book.num_codes, (SIDE, SIDE)).astype(book.dtype)) for image_id in ids]
            entries.append(ShardEntry(f"codes-{place // CHUNK:05}.h5", "train", ids))
            draft.write(entries[-1].name, write_shard(maps, book, class_names=manifest.classes.names, split="train"))
        write_shard_index(draft, book, entries)
        return CodesMeta(to_label=len(rows), val=0, edges=list(book.edges))

    with hold_lock(work / "lock"):
        for stage, fill in (("manifest", listed), ("teacher", teacher), ("infer", infer)):
            commit(project, nodes[stage], fill)
    result = call("label", file, "--work", work, "-q")
    assert result.exit_code == 0, result.output


def opening(file: Path, work: Path) -> float:
    """CPU seconds of the server until it has answered with its page, and with the first rows of the queue."""
    before = _children()
    command = [sys.executable, "-m", "autolabel", "review", str(file), "--work", str(work), "--no-browser", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = urlsplit(json.loads(process.stdout.readline())["address"])
    for part in ("", "review.css", "review.js", "view.js", "api/state"):
        _answer(address.netloc, address.path + part)
    assert len(json.loads(_answer(address.netloc, f"{address.path}api/queue?from=0"))["rows"]) == 100
    process.kill()
    process.communicate()
    return _children() - before


def _answer(host: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(host)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200, path
    return answer.read()


def importing() -> float:
    before = _children()
    modules = ", ".join(f"autolabel.review.{name}" for name in ("images", "pages", "server", "session"))
    subprocess.run([sys.executable, "-c", f"import autolabel.cli.review, {modules}, bottle"], check=True)
    return _children() - before


def _children() -> float:
    """CPU seconds of all processes that this one started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    number = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        file, work = experiment(Path(folder), number), Path(folder) / "work"
        with patch("os.fsync"):  # the folder is thrown away
            make(file, work, number)
        print(f"{'imports alone':16} {importing():.2f} CPU seconds")
        for turn in ("first opening", "second opening"):
            print(f"{turn:16} {opening(file, work):.2f} CPU seconds, {number:,} images")


if __name__ == "__main__":
    main()
