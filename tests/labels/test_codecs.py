"""The choice of a codec: an impossible one is refused in one line, and no codec changes a pixel."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import oxipng
import pytest

from autolabel.errors import ConfigError, LabelError
from autolabel.labels import png
from autolabel.labels.png import CODECS, require_codec

LABELS = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4), np.ones((9, 7), np.uint8))


@pytest.mark.parametrize("name", CODECS)
def test_what_is_there_is_allowed(name: str) -> None:
    require_codec(name)


def test_unknown_or_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no codec is named 'webp'; take one of default, archive"):
        require_codec("webp")
    monkeypatch.setitem(sys.modules, "oxipng", None)
    with pytest.raises(ConfigError, match=r"'archive' needs oxipng; pip install 'autolabel-seg\[archive\]'"):
        require_codec("archive")
    require_codec("default")


def test_archived_bytes_repeat() -> None:
    assert len({png.archive(LABELS) for _ in range(5)}) == 1


def test_a_map_that_came_out_different_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that changes pixels."""

    class Changed:
        def __init__(self, *args: object, **options: object) -> None: ...

        def create_optimized_png(self, **options: object) -> bytes:
            return png.encode(LABELS + 1)

    names = ("ColorType", "RowFilter", "Deflaters", "Interlacing", "StripChunks")
    other = SimpleNamespace(RawImage=Changed, **{name: getattr(oxipng, name) for name in names})
    monkeypatch.setitem(sys.modules, "oxipng", other)
    with pytest.raises(LabelError, match="changed a label map"):
        png.archive(LABELS)
    monkeypatch.setattr(Changed, "create_optimized_png", lambda self, **options: b"no PNG")
    with pytest.raises(LabelError, match=r"^label\.codec: "):
        png.archive(LABELS)
