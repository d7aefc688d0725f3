"""Label layers over the epochs: the published recipe ends on fine labels alone, others go fine -> auto -> fine.

An image has one label here, of one layer. Every image that a phase may draw evenly is of its `layers`; class-uniform
draws take centroids of its `uniform` layers, in labels that nobody drew finely those of chosen classes only (Tao et
al., arXiv 2005.10821, train on coarse and auto labels by such centroids alone).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from autolabel.classes import id_of_name
from autolabel.config import Phase, Train
from autolabel.data.sampling import Part
from autolabel.errors import ConfigError


def check_phases(settings: Train, *, layers: Collection[str], names: Sequence[str]) -> None:
    """ConfigError where a phase has none of the `layers` that there are, or no class is named so."""
    for number, phase in enumerate(settings.phases, start=1):
        for wanted in (phase.layers, phase.uniform or phase.layers):
            if not any(layer in layers for layer in wanted):
                what = f"phase {number} draws from {' and '.join(wanted)}, and there is no such label"
                raise ConfigError(settings.place("phases"), what, f"there are {' and '.join(sorted(layers))} labels")
    for name in settings.uniform_classes or ():
        id_of_name(name, names, where=settings.place("uniform_classes"))


def plan_parts(
    settings: Train, *, layers: Sequence[str], names: Sequence[str], holders: tuple[np.ndarray, ...]
) -> tuple[Part, ...]:
    """What is drawn when. `layers`: of every picture that is trained on; `holders`: for each class those of them that
    hold it, or none at all. Raises ConfigError as `check_phases` does."""
    check_phases(settings, layers=set(layers), names=names)
    everything = Phase(layers=("fine", "auto", "coarse"), epochs=settings.epochs)
    phases = settings.phases or (everything,)
    given = sum(phase.epochs or 0 for phase in phases)
    return tuple(
        Part(
            epochs=phase.epochs or settings.epochs - given,
            pictures=[index for index, layer in enumerate(layers) if layer in phase.layers],
            holders=_drawable(holders, layers, phase.uniform or phase.layers, settings.uniform_classes, names),
        )
        for phase in phases
    )


def _drawable(
    holders: tuple[np.ndarray, ...],
    layers: Sequence[str],
    wanted: Collection[str],
    chosen: Collection[str] | None,
    names: Sequence[str],
) -> tuple[np.ndarray, ...]:
    """Pictures with labels of the wanted layers; of a class that is not chosen only those with fine labels."""
    of_wanted = np.array([layer in wanted for layer in layers])
    of_fine = of_wanted & np.array([layer == "fine" for layer in layers])
    allowed = [of_wanted if chosen is None or name in chosen else of_fine for name in names]
    return tuple(pictures[mask[pictures]] for pictures, mask in zip(holders, allowed, strict=bool(holders)))
