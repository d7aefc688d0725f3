"""Learning rate by step."""

from __future__ import annotations


def lr_at(step: int, *, base: float, total: int, power: float, warmup: float) -> float:
    """Poly decay base * (1 - t)^power over the steps after a linear warm-up of `warmup` x `total` steps.

    `step` counts from 0; the warm-up's last step and the first one after it use `base`.
    """
    num_warmup = round(warmup * total)
    if step < num_warmup:
        return base * (step + 1) / num_warmup
    return base * (1 - (step - num_warmup) / (total - num_warmup)) ** power
