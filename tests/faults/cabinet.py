"""Files and folders of every kind, each to be given where another one is wanted; and good ones of each."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.experiments import ONE_CORE, experiment_toml, scenes

KEY = "ab" * 32
EXPERIMENT = experiment_toml(name="small", data=scenes(32, 48, fine=2, coarse=2, val=1), runtime=ONE_CORE)
NAMES = ("lawn", "path", "shed")


@dataclass(frozen=True)
class Cabinet:
    """`good`: what a command is happy with, by the name of its parameter. `odd`: what makes a thing at a path."""

    good: dict[str, Path]
    odd: dict[str, Callable[[Path], None]]


def cabinet(folder: Path) -> Cabinet:
    """Everything is made below `folder`, which commands have no reason to change."""
    folder.mkdir(parents=True)
    images, labels = _image_and_label()
    data = folder / "data"
    for number in range(3):
        put(data / "images" / f"{number}.png", images)
        put(data / "masks" / f"{number}.png", labels)
    put(data / "classes.toml", f"names = {list(NAMES)}".encode())
    model, trunk, published = _weights()
    codes = shard()
    files = {
        "experiment.toml": EXPERIMENT.encode(),
        "image.png": images,
        "label.png": labels,
        "weights.safetensors": model,
        "trunk.safetensors": trunk,
        "published.pth": published,
        "codes.h5": codes,
        "classes.toml": (data / "classes.toml").read_bytes(),
        **_manifest_files(),
    }
    for name, content in files.items():
        put(folder / name, content)
    artefacts = {
        "weights artefact": {"weights.safetensors": model, "trained_on.json": b"{}"},
        "codes artefact": {"codes-00000.h5": codes, "shards.json": _shard_index()},
        "manifest artefact": _manifest_files(),
        "report artefact": {"report.html": b"<html></html>"},
        "empty artefact": {},
    }
    for name, content in artefacts.items():
        _artefact(folder / name, content)
    damaged = shutil.copytree(folder / "weights artefact", folder / "damaged artefact")
    put(damaged / "data" / "weights.safetensors", model[:-1])
    put(folder / "other json folder" / "config.json", b'{"model_type": "segformer"}')
    put(folder / "broken json folder" / "config.json", b"[" * 5000)
    (folder / "empty folder").mkdir()
    good = {
        "experiment": folder / "experiment.toml",
        "root": data,
        "file": folder / "published.pth",
        "weights": folder / "weights.safetensors",
        "images": folder / "image.png",
        "codes": folder / "codes.h5",
        "target": folder / "weights.safetensors",
        "classes": folder / "classes.toml",
    }
    return Cabinet(good, _copies(folder) | CONTENTS | SPECIAL)


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _copies(folder: Path) -> dict[str, Callable[[Path], None]]:
    def copy(source: Path) -> Callable[[Path], None]:
        if source.is_dir():
            return lambda path: void(shutil.copytree(source, path))
        return lambda path: void(shutil.copyfile(source, path))

    return {path.name: copy(path) for path in sorted(folder.iterdir())}


def void(result: object) -> None:
    pass


def _content(data: bytes) -> Callable[[Path], None]:
    return lambda path: put(path, data)


CONTENTS = {
    name: _content(data)
    for name, data in {
        "empty file": b"",
        "one byte": b"\0",
        "text": b"hello\n",
        "escapes": b"\x1b[31mred\x1b[0m = <script>alert(1)</script>\n",
        "noise": bytes(range(256)) * 40,
        "zip header": b"PK\x03\x04" + b"\0" * 60,
        "pickle": b"\x80\x04cposix\nsystem\n(S'touch canary'\ntR.",
        "hdf5 header": b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
        "parquet ends": b"PAR1" + b"\0" * 30 + b"PAR1",
        "gif": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
        "jpeg header": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
        "avi header": b"RIFF\xff\xff\xff\x7fAVI LIST",
        "safetensors header": b"\xff" * 7 + b"\0{}",
        "large text": b"a = 1\n" * 300_000,
    }.items()
}


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _unreadable(path: Path) -> None:
    put(path, b"secret")
    path.chmod(0)


def _link_out(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _link_to_a_folder(path: Path) -> None:
    target = path.with_name(path.name + "-target")
    target.mkdir()
    path.symlink_to(target.name)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "nothing": lambda path: None,
    "named pipe": lambda path: os.mkfifo(path),
    "socket": _socket,
    "unreadable file": _unreadable,
    "unreadable folder": lambda path: path.mkdir(mode=0),
    "ring of links": lambda path: path.symlink_to(path.name),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to a file elsewhere": _link_out,
    "link to a folder": _link_to_a_folder,
}
# Given as they are: nothing of them lies in the folder of a call.
PLACES = (
    "/dev/null", "/dev/zero", "/dev/full", "/proc/self/mem", "/proc/self/environ", "/", "x" * 300, "y/" * 2500 + "z",
    "absent/file.png", "", ".", "..", "-", "~", "a\nb", "\x1b[31mred", "\udcff.png", "a\0b", "<script>", "*", "C:\\x",
)  # fmt: skip


def _image_and_label() -> tuple[bytes, bytes]:
    import numpy as np
    from PIL import Image

    def png(pixels: np.ndarray) -> bytes:
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, "PNG")
        return sink.getvalue()

    rng = np.random.default_rng(0)
    return png(rng.integers(0, 256, (32, 48, 3), np.uint8)), png(rng.integers(0, len(NAMES), (32, 48), np.uint8))


def _weights() -> tuple[bytes, bytes, bytes]:
    """Weights of a small network, of a trunk alone, and of the network in a published layout."""
    import torch

    from autolabel.config.networks import ModelConfig
    from autolabel.models import WeightsCard, build_model, published_state, weights_to_bytes
    from autolabel.models.checkpoint import trunk_to_bytes
    from autolabel.models.weights_file import TrunkCard

    torch.manual_seed(0)
    table = ModelConfig(trunk="resnet_tiny", head="conv", fusion="single", key_channels=8)
    model = build_model(table, len(NAMES)).eval()
    sink = io.BytesIO()
    torch.save({key: value.detach().clone() for key, value in published_state(model).items()}, sink)
    trunk = {key: value for key, value in model.state_dict().items() if key.startswith("trunk.")}
    ours = weights_to_bytes(model, WeightsCard(table=table, class_names=NAMES))
    return ours, trunk_to_bytes(trunk, TrunkCard(trunk="resnet_tiny")), sink.getvalue()


def shard() -> bytes:
    import numpy as np

    from autolabel.labels.codebook import Codebook
    from autolabel.labels.shards import write_shard

    book = Codebook(len(NAMES), None)
    codes = np.random.default_rng(0).integers(0, book.num_codes, (32, 48)).astype(book.dtype)
    return write_shard([("a", codes)], book, class_names=NAMES, split="train")


def _shard_index() -> bytes:
    from autolabel.labels.codebook import Codebook

    shards = [{"name": "codes-00000.h5", "split": "train", "ids": ["a"]}]
    return json.dumps({"book": Codebook(len(NAMES), None).to_dict(), "shards": shards}).encode()


def _manifest_files() -> dict[str, bytes]:
    from tests.faults.malformed_manifests import good_manifest

    return good_manifest().to_files()


def _artefact(path: Path, files: dict[str, bytes]) -> None:
    from autolabel.store import open_draft

    draft = open_draft(path.parent / "making", KEY)
    for name, data in files.items():
        draft.write(name, data)
    draft.data.mkdir(exist_ok=True)
    draft.commit(meta={}, provenance={}).path.rename(path)
    shutil.rmtree(path.parent / "making")
