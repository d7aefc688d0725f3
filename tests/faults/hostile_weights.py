"""Weights that would run code, fill memory, or pass for a network that they are not."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

from tests.faults.cabinet import Cabinet
from tests.faults.hostile import CANARY, Hostile, laid

COMMANDS = {
    "import-weights": ("import-weights", "thing", "--out", "out"),
    "predict": ("predict", "--teacher", "thing", "image", "--out", "out", "-q"),
    "export model": ("export", "model", "thing", "--out", "out", "-q"),
    "cost": ("cost", "thing"),
}


def cases(things: Cabinet) -> list[Hostile]:
    image = things.good["images"].read_bytes()
    found = []
    for title, data in {**dict(_pickles()), **dict(_archives(things)), **dict(_safetensors(things))}.items():
        # cost takes what holds no zero byte for an experiment, which such a file is not either
        for command, arguments in COMMANDS.items():
            found.append(Hostile(f"{title} for {command}", laid(thing=data, image=image), arguments))
    return found


class Runs:
    """Unpickled, it calls what it was given."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def _attacks() -> dict[str, object]:
    touch = f"touch {CANARY}"
    return {
        "os.system": Runs(os.system, touch),
        "eval": Runs(eval, f"open({CANARY!r}, 'w')"),
        "exec": Runs(exec, f"import os; os.system({touch!r})"),
        "open": Runs(open, CANARY, "w"),
        "pickle in pickle": Runs(pickle.loads, pickle.dumps(Runs(os.system, touch))),
    }


def _pickles() -> Iterator[tuple[str, bytes]]:
    import torch

    for name, attack in _attacks().items():
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            yield f"{name}, pickle protocol {protocol}", pickle.dumps(attack, protocol=protocol)
        for old in (False, True):
            sink = io.BytesIO()
            held = {"state_dict": {"conv1.weight": torch.zeros(1)}, "beside": attack}
            torch.save(held, sink, _use_new_zipfile_serialization=not old)
            yield f"{name} in a checkpoint{' of old' if old else ''}", sink.getvalue()


def _archives(things: Cabinet) -> Iterator[tuple[str, bytes]]:
    """Zip files that hold more than weights, or claim to."""
    good = things.good["file"].read_bytes()

    def rebuilt(method: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
        sink = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(good)) as source, zipfile.ZipFile(sink, "w", method) as target:
            for name in source.namelist():
                target.writestr(
                    name,
                    more.pop("pickle", b"") or source.read(name) if name.endswith("data.pkl") else source.read(name),
                )
            for name, data in more.items():
                target.writestr(name, data)
        return sink.getvalue()

    evil = pickle.dumps(_attacks()["os.system"], protocol=2)
    yield "an archive whose pickle runs code", rebuilt(pickle=evil)
    yield "an archive that is a bomb", rebuilt(zipfile.ZIP_DEFLATED, bomb=bytes(50_000_000))
    yield "an archive cut short", good[: len(good) // 2]
    yield "an archive without its directory", good[:-30]
    yield "an archive of nothing", b"PK\x05\x06" + bytes(18)
    code = {"archive/code/__torch__.py": b"import os\nos.system('touch canary')\n", "archive/constants.pkl": evil}
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as target:
        for name, data in code.items():
            target.writestr(name, data)
    yield "a script's archive", sink.getvalue()
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as target:
        target.writestr("../../canary", b"x")
        target.writestr("archive/data.pkl", evil)
    yield "an archive with ../ in it", sink.getvalue()


def _safetensors(things: Cabinet) -> Iterator[tuple[str, bytes]]:
    good = things.good["weights"].read_bytes()
    size = struct.unpack("<Q", good[:8])[0]
    header, body = json.loads(good[8 : 8 + size]), good[8 + size :]
    first, second = [name for name in header if name != "__metadata__"][:2]

    def packed(table: object, data: bytes = body) -> bytes:
        text = table if isinstance(table, bytes) else json.dumps(table).encode()
        return struct.pack("<Q", len(text)) + text + data

    def changed(name: str, **update: object) -> bytes:
        return packed({**header, name: {**header[name], **update}})

    yield "a header of 2**63 bytes", struct.pack("<Q", 2**63) + good[8:]
    yield "a header longer than the file", struct.pack("<Q", len(good)) + good[8:]
    yield "a header of no JSON", packed(b"{" * 100_000)
    yield "a header that is a list", packed([])
    yield "tensors that overlap", changed(second, data_offsets=header[first]["data_offsets"])
    yield "a tensor that ends beyond the file", changed(first, data_offsets=[0, 2**40])
    yield "a tensor that ends before it begins", changed(first, data_offsets=[8, 0])
    yield "a tensor of 2**60 numbers", changed(first, shape=[2**30, 2**30])
    yield "a tensor of -1 numbers", changed(first, shape=[-1])
    yield "a tensor of an unknown type", changed(first, dtype="PICKLE")
    yield "a tensor less", packed({key: value for key, value in header.items() if key != second})
    yield "a body cut short", good[:-1]
    yield "a body with more behind it", good + b"more"
    yield "weights that are no numbers", packed(header, b"\xff" * len(body))
    yield "weights that are infinite", packed(header, struct.pack("<f", float("inf")) * (len(body) // 4))
    yield "no card", packed({key: value for key, value in header.items() if key != "__metadata__"})
    for title, card in _cards(json.loads(next(iter(header["__metadata__"].values())))):
        text = card if isinstance(card, str) else json.dumps(card)
        yield f"a card {title}", packed(header | {"__metadata__": dict.fromkeys(header["__metadata__"], text)})


def _cards(card: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "that is no JSON", "{"
    yield "as deep as the stack", "[" * 100_000
    yield "of another kind", []
    yield "with an unknown key", {**card, "run": "os.system"}
    yield "with a trunk of the disk", {**card, "table": {**card["table"], "trunk": "../../etc/passwd"}}
    yield "with a trunk of timm", {**card, "table": {**card["table"], "trunk": "timm:hf-hub:evil/model"}}
    yield "with a trunk in colour", {**card, "table": {**card["table"], "trunk": "\x1b[31mred"}}
    yield "with a head of 10**15 channels", {**card, "table": {**card["table"], "key_channels": 10**15}}
    yield "with 65,537 classes", {**card, "class_names": [str(i) for i in range(65_537)]}
    yield "with other classes", {**card, "class_names": ["a"]}
    yield "without classes", {**card, "class_names": []}
    yield "with a spread of nothing", {**card, "std": [0.0, 1.0, 1.0]}
    yield "with a mean that is no number", json.dumps({**card, "mean": [float("nan")] * 3})
    yield "of Hugging Face with code", {
        "class_names": card["class_names"], "train_ids": [0, 1, 2],
        "huggingface": {"model_type": "evil", "auto_map": {"AutoModel": "evil--run.Model"}, "trust_remote_code": True},
    }  # fmt: skip
