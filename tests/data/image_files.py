"""Small image files for the tests of data sources."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 12, 8


def noise_image(seed: int = 0, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ids(*values: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A map that holds all of these ids, in rows from the top left."""
    return np.resize(np.array(values or (0,), np.uint8), (height, width))


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    sink = BytesIO()
    Image.fromarray(pixels).save(sink, kind, **options)
    return sink.getvalue()


def palette_png(indices: np.ndarray) -> bytes:
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([(7 * k) % 256 for k in range(768)])
    sink = BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def header_only_png(width: int, height: int, *, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG that claims a size and holds next to nothing: a decompression bomb."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def put(file: Path, data: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def put_image(file: Path, seed: int = 0) -> Path:
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF"}
    return put(file, encoded(noise_image(seed), kind[file.suffix.lower()]))


def put_mask(file: Path, *values: int) -> Path:
    return put(file, encoded(ids(*values)))
