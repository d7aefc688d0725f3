"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is imported, and for the programs that tests start: workers run side by side, one core each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "500")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data beside the checkout; absent on a user's machine, required in CI."""
    if SHARED.is_dir():
        return SHARED
    if os.environ.get("CI"):
        pytest.fail(f"{SHARED} is missing in CI")
    pytest.skip("needs the reference data beside the checkout")
