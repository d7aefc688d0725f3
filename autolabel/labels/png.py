"""Label maps as PNG files: 8-bit greyscale, so that every reader gets the ids themselves.

The codec "default" is fast. It stores a row as its difference from the row above (filter Up) or as it is, whichever
changes value less often along the row, and deflates with run lengths. Its files are smaller than Pillow's, in less than
half of the CPU time (`python benchmarks/labelling.py --only codec`).

The codec "archive" makes the smallest files, with oxipng: all filters, the best one per row, and libdeflate's slowest
level. Its reductions of bit depth, colour type and palette are off: they change the values that readers get.
"""

from __future__ import annotations

import importlib.util
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from autolabel.distribution import install_command
from autolabel.errors import LabelError, SettingError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")  # width, height, bit depth, colour type, compression, filter, interlace
_NONE, _UP = 0, 2
_PREFER_UP = 1.2  # differences take few values, so a change among them costs fewer bits


def encode(labels: np.ndarray) -> bytes:
    """The PNG file of a (H, W) uint8 label map. The same map and zlib give the same bytes."""
    height, width = labels.shape
    assert labels.dtype == np.uint8, labels.dtype
    assert labels.size, labels.shape
    rows = _filtered(labels)
    deflate = zlib.compressobj(level=9, memLevel=9, strategy=zlib.Z_RLE)
    data = deflate.compress(rows.data) + deflate.flush()
    header = _HEADER.pack(width, height, 8, 0, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _filtered(labels: np.ndarray) -> np.ndarray:
    """(H, 1 + W) uint8: the filter type of each row, then the filtered row."""
    height, width = labels.shape
    rows = np.empty((height, width + 1), dtype=np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = labels[0]  # the row above the first counts as zero
    np.subtract(labels[1:], labels[:-1], out=rows[1:, 1:])  # modulo 256
    plain = _PREFER_UP * _changes(labels) < _changes(rows[:, 1:])  # (H,)
    rows[plain, 0] = _NONE
    rows[plain, 1:] = labels[plain]
    return rows


def _changes(rows: np.ndarray) -> np.ndarray:
    """(H,) number of differing neighbours in each row."""
    changes: np.ndarray = np.count_nonzero(rows[:, 1:] != rows[:, :-1], axis=1)
    return changes


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


def decode(data: bytes, *, where: object = "label PNG", max_pixels: int = 64_000_000) -> np.ndarray:
    """The (H, W) uint8 map of an 8-bit greyscale PNG; LabelError on any other or damaged file.

    Other PNG files (palette, 16 bit, colour) do not give ids in every reader; they are refused, not converted.
    """
    if data[:8] != SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        raise LabelError(where, "not a PNG file")
    width, height, depth, colour, *_ = _HEADER.unpack(data[16:29])
    if (depth, colour) != (8, 0):
        raise LabelError(where, f"bit depth {depth}, colour type {colour}; label maps are 8-bit greyscale")
    if not 0 < width * height <= max_pixels:
        raise LabelError(where, f"{width} x {height} pixels exceed the limit of {max_pixels}")
    try:
        if intact_length(data) < len(data):
            raise LabelError(where, "damaged PNG: bytes follow its end")
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise LabelError(where, f"damaged PNG: {error}") from None


def intact_length(data: bytes) -> int:
    """Number of bytes of the PNG file at the start of `data`: its signature and its chunks up to IEND.

    Checks the checksum of every chunk: Pillow checks only that of the header and reads damaged pixels without an error.
    ValueError if a checksum does not match or the file is truncated.
    """
    view, start = memoryview(data), len(SIGNATURE)
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(view[start : start + 4])
        if end + 4 > len(data) or zlib.crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4]):
            break
        if data[start + 4 : start + 8] == b"IEND":
            return end + 4
        start = end + 4
    raise ValueError("a checksum does not hold, or the file is cut short")


Codec = Callable[[np.ndarray], bytes]
_NO_REDUCTIONS = {f"{what}_reduction": False for what in ("bit_depth", "color_type", "palette", "grayscale")}
_DEFLATE_LEVEL = 12


def archive(labels: np.ndarray) -> bytes:
    """The smallest PNG file of a (H, W) uint8 map; LabelError unless it decodes to this map. Needs the extra `archive`.

    It holds the interpreter lock, so it runs in parallel in processes but not in threads.
    """
    import oxipng

    height, width = labels.shape
    assert labels.dtype == np.uint8, labels.dtype
    assert labels.size, labels.shape
    grey = oxipng.ColorType.grayscale()
    data = bytes(
        oxipng.RawImage(labels.tobytes(), width, height, color_type=grey, bit_depth=8).create_optimized_png(
            filter=[oxipng.RowFilter.NoOp, oxipng.RowFilter.Brute],  # the smaller of the two
            deflate=oxipng.Deflaters.libdeflater(_DEFLATE_LEVEL),
            interlace=oxipng.Interlacing.Off,
            strip=oxipng.StripChunks.all(),
            force=True,
            **_NO_REDUCTIONS,
        )
    )
    if not np.array_equal(decode(data, where="label.codec", max_pixels=labels.size), labels):
        raise LabelError("label.codec", "oxipng changed a label map", "take codec default")
    return data


CODECS: dict[str, Codec] = {"default": encode, "archive": archive}
_LIBRARIES = {"archive": ("oxipng", install_command("archive"))}


def require_codec(name: str) -> None:
    """SettingError unless the codec exists and its library is installed."""
    if name not in CODECS:
        raise SettingError("codec", f"no codec is named {name!r}", f"take one of {', '.join(CODECS)}")
    module, remedy = _LIBRARIES.get(name, ("", ""))
    if module and importlib.util.find_spec(module) is None:
        raise SettingError("codec", f"{name!r} needs {module}", remedy)
