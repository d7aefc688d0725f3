"""The line of an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autolabel.errors import AutolabelError, StoreError


def said(act: Callable[[], Any], kind: type[AutolabelError] = StoreError) -> str:
    """The text of the error, of exactly this kind, that `act` raises."""
    with pytest.raises(kind) as error:
        act()
    assert type(error.value) is kind
    return str(error.value)
