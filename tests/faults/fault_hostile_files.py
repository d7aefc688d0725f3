"""Files made to run something, to fill memory, to write elsewhere or to fool a reader, given to the command line."""

from __future__ import annotations

import random
from pathlib import Path

from tests.faults import hostile_images, hostile_names, hostile_places, hostile_weights
from tests.faults.cabinet import cabinet
from tests.faults.hostile import clear, meet
from tests.faults.tally import Tally


def run(number: int, seed: int, folder: Path) -> Tally:
    """By turns from weights, images, labels, codes and links; then one run over images of hostile names."""
    things = cabinet(folder / "things")
    rng = random.Random(seed)
    piles = [module.cases(things) for module in (hostile_weights, hostile_images, hostile_places)]
    for pile in piles:
        rng.shuffle(pile)
    turns = [pile[turn] for turn in range(max(map(len, piles))) for pile in piles if turn < len(pile)]
    bad: list[str] = []
    for case in turns[:number]:
        bad += meet(case, folder / "case")
        clear(folder / "case")
    names = hostile_names.run(things, folder / "names")
    return Tally("hostile files", len(turns[:number]) + names.tried, (*bad, *names.bad))
