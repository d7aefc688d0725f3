"""Settings as TOML, read back by the standard library."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from autolabel.config.load import toml_value


@pytest.mark.parametrize(
    "value", [True, 3, 0.5, 1e-12, float("inf"), np.float64(0.5), [np.float64(0.25), 1], {"a b": "c"}, 'a "b"\n']
)
def test_values_come_back(value: object) -> None:
    found = tomllib.loads(f"x = {toml_value(value)}")["x"]
    assert found == value
    assert isinstance(found, bool) == isinstance(value, bool)


def test_other_values_are_refused() -> None:
    with pytest.raises(ValueError, match="is of type NoneType"):
        toml_value(None)
