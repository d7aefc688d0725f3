"""Codecs of label maps, by name. Each makes an 8-bit greyscale PNG, from which every reader gets the same ids.

"default" is fast (`autolabel.labels.png`). "archive" is what oxipng makes of a map when it has time: each filter, and
the best of each row, deflated by libdeflate's slowest level. Whatever would store the pixels in another form is off:
oxipng would make bits of a map of 0 and 255 and a palette of others, and readers would not give ids any more.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np

from autolabel.errors import ConfigError, LabelError
from autolabel.labels import png

Codec = Callable[[np.ndarray], bytes]
_AS_IT_IS = {f"{what}_reduction": False for what in ("bit_depth", "color_type", "palette", "grayscale")}
_DEFLATE_LEVEL = 12


def archive(labels: np.ndarray) -> bytes:
    """The smallest PNG file of a (H, W) uint8 map; LabelError unless it decodes to this map. Needs the extra `archive`.

    Holds the interpreter lock: threads wait for one another, processes do not.
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
            **_AS_IT_IS,
        )
    )
    if not np.array_equal(png.decode(data, where="label.codec", max_pixels=labels.size), labels):
        raise LabelError("label.codec", "oxipng changed a label map", "take codec default")
    return data


CODECS: dict[str, Codec] = {"default": png.encode, "archive": archive}
_LIBRARIES = {"archive": ("oxipng", "pip install 'autolabel[archive]'")}


def require_codec(name: str, where: str = "label.codec") -> None:
    """ConfigError unless there is such a codec, and its library is installed."""
    if name not in CODECS:
        raise ConfigError(where, f"no codec is named {name!r}", f"take one of {', '.join(CODECS)}")
    module, remedy = _LIBRARIES.get(name, ("", ""))
    if module and importlib.util.find_spec(module) is None:
        raise ConfigError(where, f"{name!r} needs {module}", remedy)
