"""The root of the checkout. Programs that tests start run there, so that they import `tests` and `autolabel`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
