"""Smoke test of the distribution: build it, install it alone, and use it outside the checkout.

    python tests_wheel/smoke.py [FOLDER]

The Python that runs it needs hatchling. An empty environment gets the wheel, which is built from the sdist, with torch
pinned; there a small demo, `predict` and the Python API run, with every connection refused.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "data.size": "[64, 128]",
    "data.num_fine": "4",
    "data.num_coarse": "4",
    "data.num_val": "2",
    **{
        f"{network}.{key}": value
        for network in ("teacher", "student")
        for key, value in {
            "weights": "random",
            "crop": "[64, 128]",
            "batch": "2",
            "epochs": "1",
            "epoch_images": "8",
            "phases": "[]",
        }.items()
    },
}
API = """
import sys
from pathlib import Path
import numpy as np
import autolabel
assert "site-packages" in autolabel.__file__, autolabel.__file__
teacher, image = sys.argv[1:]
prediction = autolabel.load(teacher)(image)
assert prediction.labels.dtype == np.uint8 and prediction.labels.shape == (64, 128)
labels = autolabel.LabelSet(next(Path("work/artefacts/label").iterdir()))
assert len(labels) == 4
print("API: ok")
"""


def run(*command: object, cwd: Path) -> str:
    print("+", *command, flush=True)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def build(folder: Path) -> Path:
    """The wheel, built from the unpacked sdist as a package index or a distributor does."""
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, "-t", "sdist", cwd=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, "-t", "wheel", cwd=source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def main(folder: Path) -> None:
    wheel = build(folder)
    venv.create(folder / "env", with_pip=True)
    python, command = folder / "env/bin/python", folder / "env/bin/autolabel"
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    outside = folder / "outside"
    outside.mkdir()
    settings = [f"--set={key}={value}" for key, value in SMALL.items()]
    print(run(command, "--offline", "demo", "--work", "work", *settings, cwd=outside))
    teacher = next((outside / "work/artefacts/teacher").iterdir())
    (outside / "images").mkdir()
    photo = next(path for path in (outside / "work/artefacts/manifest").rglob("*") if path.suffix in (".png", ".jpg"))
    (outside / "images" / photo.name).write_bytes(photo.read_bytes())
    run(command, "--offline", "predict", "--teacher", teacher, "images", "--out", "labels", cwd=outside)
    assert list((outside / "labels").rglob("*.png"))
    print(run(python, "-c", API, teacher, outside / "images" / photo.name, cwd=outside))
    print("the distribution works alone")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
