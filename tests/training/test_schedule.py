from __future__ import annotations

import pytest

from autolabel.training.optim import lr_at


@pytest.mark.parametrize("power", [0.0, 0.9, 1.0, 2.0])
def test_poly_without_warmup(power: float) -> None:
    rates = [lr_at(step, base=0.3, total=50, power=power, warmup=0.0) for step in range(50)]
    assert rates == pytest.approx([0.3 * (1 - step / 50) ** power for step in range(50)])


def test_warmup_rises_to_the_base_and_poly_starts_from_it() -> None:
    rates = [lr_at(step, base=1.0, total=10, power=1.0, warmup=0.4) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


@pytest.mark.parametrize("warmup", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("total", [1, 2, 7])
def test_every_step_of_any_run_has_a_positive_rate_up_to_the_base(warmup: float, total: int) -> None:
    assert all(0 < lr_at(step, base=2.0, total=total, power=2.0, warmup=warmup) <= 2.0 for step in range(total))
