"""Files that cannot be read now."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def unreadable(*victims: Path, reason: int = errno.EACCES) -> Iterator[None]:
    """Opening one of these files fails. (Root may read every file, so permissions alone would not do.)"""
    real = os.open

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        if Path(path) in victims:
            raise OSError(reason, os.strerror(reason))
        return real(path, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", refuse)
        yield
