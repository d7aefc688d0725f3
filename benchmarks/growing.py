"""One image is added to many: number of images that infer computes, and CPU seconds beside those of the first run.

    python benchmarks/growing.py [--json] [--images 1000]

Makes a folder of PNGs of 64 x 48, of which six have a mask, trains a teacher for one step, and runs until infer. Then
it adds one image and runs again. Both runs are the real program in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _one_step import TEACHER
from PIL import Image

EXPERIMENT = """
name = "growing"
[data]
source = "folder"
root = "{root}"
val_share = 0.3
{teacher}[infer]
scales = [1.0]
[runtime]
device = "cpu"
threads = 1
"""


def put(root: Path, name: str, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(np.kron(pixels, np.ones((8, 8, 1), np.uint8))).save(root / "images" / f"{name}.png")


def run(folder: Path) -> dict[str, Any]:
    """Bring infer up to date; how many images it computed and knew, and the CPU seconds of the whole command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "autolabel", "run", "x.toml", "--until", "infer", "-q"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    newest = max((folder / "work/growing/artefacts/infer").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    images = json.loads((newest / "provenance.json").read_bytes())["images"]
    return {**images, "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--images", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, root = Path(scratch), Path(scratch) / "data"
        for name in ("images", "masks"):
            (root / name).mkdir(parents=True)
        (root / "classes.toml").write_text('names = ["lawn", "path"]\n')
        for number in range(args.images):
            put(root, f"{number:06}", number)
        for number in range(6):
            mask = np.zeros((48, 64), np.uint8)
            mask[:, 10 * number + 2 :] = 1
            Image.fromarray(mask).save(root / "masks" / f"{number:06}.png")
        (folder / "x.toml").write_text(EXPERIMENT.format(teacher=TEACHER, root=root))
        first = run(folder)
        put(root, "000500 more", args.images)
        second = run(folder)
    assert second["computed"] == 1, second
    ratio = first["cpu_seconds"] / second["cpu_seconds"]
    if args.json:
        print(json.dumps({"growing.first": first, "growing.one_more": second, "growing.ratio": ratio}))
        return
    for name, found in (("first run", first), ("one image more", second)):
        print(
            f"{name:15} {found['computed']:5} computed, {found['known']:5} known,"
            f" {found['cpu_seconds']:.1f} CPU seconds"
        )
    print(f"the first run takes {ratio:.1f} times as much")


if __name__ == "__main__":
    main()
