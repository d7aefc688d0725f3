from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.audit.footprint import decimal_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_995, "10.0 kB"),
        (15_600, "15.6 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (332e6, "332 MB"),
        (3.187e12, "3.19 TB"),
        (5e18, "5000 PB"),
    ],
)
def test_three_significant_digits(size, text):
    assert decimal_bytes(size) == text


@given(st.integers(0, 10**15))
def test_text_is_within_half_a_last_digit(size):
    value, unit = decimal_bytes(size).split()
    factor = 1000 ** ("B", "kB", "MB", "GB", "TB", "PB").index(unit)
    assert abs(float(value) * factor - size) <= 0.005 * max(size, 1)
    assert size == 0 or 1 <= float(value) < 1000
