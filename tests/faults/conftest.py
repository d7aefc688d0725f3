"""Where the fault tests work."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def ram() -> Iterator[Path]:
    """A folder in memory where there is one: a killed process leaves the same there, and fsync costs nothing."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="autolabel-faults-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)
