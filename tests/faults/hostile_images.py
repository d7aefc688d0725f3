"""Images and label maps that would fill memory, that are broken, or that are not what they seem."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.faults.cabinet import Cabinet, put
from tests.faults.hostile import EITHER, HARMLESS, REFUSED, Hostile, laid
from tests.helpers.experiments import ONE_CORE, experiment_toml

CANARIES = b"<?php system('touch canary'); ?><script>alert(1)</script>"
LOOK = ("predict", "--teacher", "weights", "thing", "--out", "out", "-q")
EXPERIMENT = experiment_toml(data={"source": "folder", "root": "data"}, runtime=ONE_CORE)


def cases(things: Cabinet) -> list[Hostile]:
    weights = things.good["weights"].read_bytes()
    found = [
        Hostile(f"{title} as a picture", laid(thing=data, weights=weights), LOOK, codes)
        for title, data, codes in [*_bombs(), *_broken(things), *_odd()]
    ]
    arguments = ("manifest", "x.toml", "--work", "out", "-q")
    found += [
        Hostile(f"{title} as a label", partial(_lay_label, things, data), arguments)
        for title, data in [*_labels(), *((title, data) for title, data, _ in _bombs())]
    ]
    return found


def _lay_label(things: Cabinet, data: bytes, where: Path) -> None:
    image, label = things.good["images"].read_bytes(), (things.good["root"] / "masks" / "0.png").read_bytes()
    for name, mask in (("a", label), ("b", data), ("c", label)):
        put(where / "data" / "images" / f"{name}.png", image)
        put(where / "data" / "masks" / f"{name}.png", mask)
    put(where / "data" / "classes.toml", (things.good["root"] / "classes.toml").read_bytes())
    put(where / "x.toml", EXPERIMENT.encode())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def _bombs() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """Next to nothing that claims to be huge."""
    some = chunk(b"IDAT", zlib.compress(bytes(1000)))
    jpeg = bytearray(_saved("JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    gif = bytearray(_saved("GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    at = gif.index(b",") + 5
    gif[at : at + 4] = struct.pack("<HH", 65_535, 65_535)
    webp = b"VP8X" + struct.pack("<I", 10) + bytes(4) + struct.pack("<I", 16_382)[:3] * 2
    yield "a PNG of 2**31 by 2**31", png(2**31 - 1, 2**31 - 1, some), REFUSED
    yield "a PNG of 30,000 by 30,000", png(30_000, 30_000, some), REFUSED
    yield "a PNG of no pixels", png(0, 5, some), REFUSED
    yield "a JPEG of 65,500 by 65,500", bytes(jpeg), REFUSED
    yield "a GIF of 65,535 by 65,535", bytes(gif), REFUSED
    yield "a TIFF of 100,000 by 100,000", _tiff(100_000, 100_000), REFUSED
    yield "a WebP of 16,383 by 16,383", b"RIFF" + struct.pack("<I", 4 + len(webp)) + b"WEBP" + webp, REFUSED
    yield (
        "a BMP of 2**31 by 2**31",
        b"BM" + bytes(12) + struct.pack("<Iii", 40, 2**31 - 1, 2**31 - 1) + bytes(28),
        REFUSED,
    )
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80_000_000), 9))
    yield "a PNG with 80 MB of text", png(8, 8, text, chunk(b"IDAT", zlib.compress(bytes(72)))), EITHER
    profile = chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(80_000_000), 9))
    yield "a PNG with a profile of 80 MB", png(8, 8, profile, chunk(b"IDAT", zlib.compress(bytes(72)))), EITHER
    yield (
        "a PNG that unpacks to more than its size",
        png(8, 8, chunk(b"IDAT", zlib.compress(bytes(90_000_000), 9))),
        EITHER,
    )


def _tiff(width: int, height: int) -> bytes:
    rows = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 100))
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in rows)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(rows)) + table + bytes(104)


def _broken(things: Cabinet) -> Iterator[tuple[str, bytes, frozenset[int]]]:
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
        data = _saved(kind)
        yield f"half a {kind}", data[: len(data) // 2], REFUSED
    good = things.good["images"].read_bytes()
    yield "a PNG with a wrong checksum", good[:60] + bytes([good[60] ^ 1]) + good[61:], REFUSED
    yield "a PNG without its end", good[:-12], REFUSED
    yield "a PNG without pixels", png(8, 8), REFUSED
    for title, data in {
        "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(canary) (w) file\n",
        "a PDF": b"%PDF-1.7\n", "a shell script": b"#!/bin/sh\ntouch canary\n",
        "HTML": CANARIES, "an icon": b"\0\0\1\0" * 9,
    }.items():  # fmt: skip
        yield title, data, REFUSED


def _odd() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    """Strange, but images."""
    for mode in ("L", "LA", "P", "RGBA", "1"):
        yield f"a PNG of mode {mode}", _saved("PNG", mode), HARMLESS
    yield "a JPEG of mode CMYK", _saved("JPEG", "CMYK"), HARMLESS
    yield "a PNG of 16 bits", _saved("PNG", "I;16"), REFUSED
    yield "a TIFF of floats", _saved("TIFF", "F"), REFUSED
    yield "a JPEG turned by EXIF", _saved("JPEG", exif=_turned()), HARMLESS
    yield "a JPEG with a script behind it", _saved("JPEG") + CANARIES, HARMLESS
    yield "a PNG that is a zip file too", _saved("PNG") + b"PK\x05\x06" + bytes(18), HARMLESS
    frames: Any = [_noise_image("RGB", seed) for seed in range(3)]
    for kind in ("PNG", "WEBP", "GIF", "TIFF"):
        yield f"a {kind} of three frames", _saved(kind, save_all=True, append_images=frames), HARMLESS
    yield (
        "a PNG with a script for text",
        png(8, 8, chunk(b"tEXt", b"k\0" + CANARIES), chunk(b"IDAT", zlib.compress(bytes(72)))),
        HARMLESS,
    )


def _labels() -> Iterator[tuple[str, bytes]]:
    import numpy as np

    yield "RGB", _saved("PNG")
    yield "grey with alpha", _saved("PNG", "LA")
    yield "16 bits", _saved("PNG", "I;16")
    yield "a palette", _saved("PNG", "P")
    yield "a JPEG", _saved("JPEG", "L")
    yield "an unknown id", _array(np.full((32, 48), 77, np.uint8))
    yield "another size", _array(np.zeros((32, 47), np.uint8))
    yield "one pixel", _array(np.zeros((1, 1), np.uint8))
    yield "nothing", b""
    yield "noise", bytes(range(256))
    good = _array(np.zeros((32, 48), np.uint8))
    yield "half a map", good[: len(good) // 2]


def _array(pixels: Any) -> bytes:
    from PIL import Image

    sink = BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def _noise_image(mode: str, seed: int = 0) -> Any:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 256)
    return Image.fromarray(pixels).convert(mode)


def _saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    sink = BytesIO()
    _noise_image(mode).save(sink, kind, **options)
    return sink.getvalue()


def _turned() -> Any:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return exif
