"""Images that go bad, before the manifest is made or between manifest and infer, and are repaired again.

Within `data.max_bad` the run ends with 5, and `quarantine.json` and `retry.txt` name just the bad ones; above it, with
3 and nothing committed. After a repair the same command gives what it would have given without the damage, also where
the repaired file has the size of the bad one.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

from autolabel.store import Artefact
from tests.faults.tally import Tally
from tests.faults.workshop import call, committed, damage, digests
from tests.helpers.experiments import ONE_CORE, experiment_toml

MAX_BAD = 2
INFER_EVERY = 8  # one try in so many damages images between manifest and infer
EXPERIMENT = {
    "name": "quarantine",
    "data": {"source": "folder", "val_share": 0.0, "max_bad": MAX_BAD},
    "teacher": {
        "crop": [32, 32],
        "batch": 1,
        "epochs": 1,
        "epoch_images": 1,
        "class_uniform": 0.0,
        "tile": 32,
        "model": {"trunk": "resnet_tiny", "head_channels": 8},
    },
    "infer": {"scales": [1.0], "chunk": 2},
    "runtime": {**ONE_CORE, "jobs": 2},
}
LABELLED, FREE = ("a", "b", "c"), ("d", "e", "f", "g", "h")
HEIGHT, WIDTH = 32, 40


def png(colour: int, channels: int, *, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A noisy image (3 channels) or a label map of class 0 (1 channel), by hand: nothing to import."""
    rng = random.Random(colour)
    pixels = bytes(width * channels) if channels == 1 else rng.randbytes(width * channels)
    rows = b"".join(b"\0" + pixels for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bad_checksum(data: bytes) -> bytes:
    """Damage the pixels; the size stays the same."""
    at = data.index(b"IEND") - 5
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _bomb(data: bytes) -> bytes:
    """A header of 60,000 x 60,000; of the same size."""
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) * 2 // 3],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "bad checksum": _bad_checksum,
    "bomb": _bomb,
    "JPEG cut short": lambda data: b"\xff\xd8\xff\xe0" + data[4:],
    "another size": lambda data: png(1, 3, width=WIDTH + 1),  # than that of its label
}


# The real command line, which replaces images once the folder of the infer artefact exists.
_SWAPPING = """
import shutil, sys
from autolabel.cli.main import main
from autolabel.store.hooks import observe
swap, images = sys.argv[1:3]
del sys.argv[1:3]
def swap_at_infer(phase, effect):
    if phase == "after" and effect.kind == "mkdir" and effect.path.name == "data" and "/infer/" in str(effect.path):
        shutil.copytree(swap, images, dirs_exist_ok=True)
with observe(swap_at_infer):
    main()
"""


class Source:
    """A folder of images and the experiment that reads it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.file = folder / "source", folder / "quarantine.toml"
        for name in (*LABELLED, *FREE):
            self.put(f"images/{name}.png", png(ord(name), 3))
        for name in LABELLED:
            self.put(f"masks/{name}.png", png(0, 1))
        self.put("classes.toml", b'names = ["road", "car"]')
        self.file.write_text(experiment_toml(EXPERIMENT, data={"root": str(self.root)}))

    def put(self, name: str, data: bytes) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(data)

    def run(self, work: Path, until: str, swap: Path | None = None) -> tuple[int, list[str]]:
        """Exit code and stderr of the real command line. As infer begins, the files of `swap` replace the images."""
        options = ["--work", str(work), "-q", "--until", until]
        program = ["-m", "autolabel"] if swap is None else ["-c", _SWAPPING, str(swap), str(self.root / "images")]
        return call([sys.executable, *program, "run", str(self.file), *options])

    def status(self, work: Path) -> str:
        command = [sys.executable, "-m", "autolabel", "status", str(self.file), "--work", str(work)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def run(number: int, seed: int, folder: Path, *, infer_every: int = INFER_EVERY) -> Tally:
    rng, bad = random.Random(seed), []
    source = Source(folder)
    whole = folder / "whole"
    started = source.run(whole, "infer" if number >= infer_every else "manifest")
    assert started == (0, []), started
    for i in range(number):
        in_infer = i % infer_every == infer_every - 1
        work = folder / "work"
        if in_infer:
            shutil.copytree(whole, work, ignore=lambda path, names: {"infer"} & {*names})
        chosen = rng.sample(FREE if in_infer else LABELLED + FREE, rng.randint(1, MAX_BAD + 1))
        damages = {name: rng.choice([k for k in DAMAGES if k != "another size" or name in LABELLED]) for name in chosen}
        step = "infer" if in_infer else "manifest"
        bad += [f"{step}, {damages}: {line}" for line in _try(source, work, step, damages, digests(whole))]
        shutil.rmtree(work)
    return Tally("quarantine", number, tuple(bad))


def _try(source: Source, work: Path, step: str, damages: dict[str, str], expected: dict[str, str]) -> list[str]:
    files = {name: source.root / f"images/{name}.png" for name in damages}
    before = {name: file.read_bytes() for name, file in files.items()}
    swap = source.root.parent / "swap"
    swap.mkdir()
    for name, kind in damages.items():
        (swap / f"{name}.png").write_bytes(DAMAGES[kind](before[name]))
    in_infer = step == "infer"
    if not in_infer:
        shutil.copytree(swap, source.root / "images", dirs_exist_ok=True)
    bad = []
    for _ in range(1 if in_infer else 2):  # the second time nothing has changed
        code, said = source.run(work, step, swap if in_infer else None)
        bad += damage(work)
        if len(said) != 1 or code != (5 if len(damages) <= MAX_BAD else 3):
            bad.append(f"exit code {code}: {said}")
        bad += _wrong_lists(work, step, set(damages))
    shutil.rmtree(swap)
    if (
        not in_infer
        and len(damages) <= MAX_BAD
        and f"without {len(damages)} item(s) in quarantine" not in source.status(work)
    ):
        bad.append("status does not say it")
    for name, data in before.items():
        files[name].write_bytes(data)
    code, said = source.run(work, step)
    made = {Artefact.open(found.path).digest for found in committed(work) if found.node == step}  # the damaged one too
    if code or said or expected[step] not in made:
        bad.append(f"repaired: exit code {code}, {said}, digest {'right' if expected[step] in made else 'wrong'}")
    return bad


def _wrong_lists(work: Path, step: str, names: set[str]) -> list[str]:
    """quarantine.json and retry.txt of the step, which must not be there if it was given up."""
    paths = [path for path in work.glob(f"artefacts/{step}/*") if path.suffix == ""]
    if len(names) > MAX_BAD:
        return [f"committed all the same: {paths}"] if paths else []
    if len(paths) != 1:
        return [f"{len(paths)} artefacts"]
    rows = json.loads((paths[0] / "data/quarantine.json").read_text())
    retry = (paths[0] / "data/retry.txt").read_text().split()
    wanted = sorted(f"images/{name}.png" for name in names)
    if {row["id"] for row in rows} != names or sorted(row["path"] for row in rows) != wanted or sorted(retry) != wanted:
        return [f"listed: {rows}, {retry}"]
    named = {row["id"]: (row["path"], f"masks/{row['id']}.png") for row in rows}  # another size: that of its label
    return [f"no reason for {row['id']}: {row}" for row in rows if not row["reason"].startswith(named[row["id"]])]
