"""Run the kernel on the CPU in Triton's interpreter.

    TRITON_INTERPRET=1 python -m tests.inference.run_kernel

It prints for every case how many codes differ from those of float64 logits, except near ties and edges.
"""

from __future__ import annotations

import json

import torch

from autolabel.inference import fused_decision
from autolabel.inference.decision import encode
from autolabel.inference.fused_cuda import encode_terms
from autolabel.inference.fused_decision import encode_fused, fused_logits
from autolabel.labels.codebook import Codebook
from autolabel.models.fusion import FUSIONS
from tests.inference.test_fused_decision import Lowest, near_a_border, random_maps, single

CASES = [  # fusion, scales, size, classes, views, edge below which the second class is kept
    ("hierarchical", (0.5, 1.0, 2.0), (9, 14), 5, 1, 0.0),
    ("hierarchical", (0.25, 0.5, 1.0, 2.0), (9, 5), 40, 2, 0.0),
    ("hierarchical", (0.75, 1.0, 1.5), (11, 8), 3, 1, 0.0),
    ("hierarchical", (1.0,), (5, 5), 1, 1, 0.0),
    ("average", (0.5, 1.0, 2.0), (8, 9), 5, 1, 0.0),
    ("explicit", (0.5, 1.0, 2.0), (8, 12), 5, 2, 0.0),
    ("hierarchical", (0.5, 1.0, 2.0), (9, 14), 5, 1, 0.95),
    ("average", (0.5, 1.0, 2.0), (8, 9), 19, 2, 0.5),
]


def run(
    fusion: str, scales: tuple[float, ...], size: tuple[int, int], classes: int, views: int, second_below: float
) -> dict[str, int]:
    book = Codebook(classes, second_below=second_below)
    explicit = fusion == "explicit"
    maps = [random_maps(scales, size, classes=classes, batch=2, seed=s, explicit=explicit) for s in range(views)]
    terms = [FUSIONS[fusion].terms(single(view)) for view in maps]
    assert all(view is not None for view in terms)
    codes = encode_terms(terms, book)
    dense = fused_logits(FUSIONS[fusion], maps)
    far = ~near_a_border(dense, book)
    expected = encode(dense, book)
    assert codes.dtype == expected.dtype
    return {"compared": int(far.sum()), "differ": int((codes.int() != expected.int())[far].sum())}


def broken() -> dict[str, int]:
    """A non-finite value: pixels that are valid in the dense path are valid here, and the rest agree."""
    book = Codebook(5)
    maps = single(random_maps((0.5, 1.0), (16, 16)))
    maps[0].logits[0, 2, 1, 2] = torch.nan
    codes = encode_terms([FUSIONS["hierarchical"].terms(maps)], book)
    expected = encode(fused_logits(FUSIONS["hierarchical"], [maps]), book)
    invalid = int((codes == book.invalid).sum())
    return {"compared": invalid, "differ": int(((codes != expected) & (expected != book.invalid)).sum())}


def without_terms() -> dict[str, int]:
    """A fusion without terms, where the kernel could run: decided by its own formula."""
    fused_decision._has_kernel = lambda logits: True
    book = Codebook(5)
    maps = random_maps((0.5, 1.0, 2.0), (16, 20))
    dense = fused_logits(Lowest(), [maps])
    far = ~near_a_border(dense, book)
    codes = encode_fused(Lowest(), [single(maps)], book)
    return {"compared": int(far.sum()), "differ": int((codes != encode(dense, book))[far].sum())}


if __name__ == "__main__":
    print(json.dumps([*(run(*case) for case in CASES), broken(), without_terms()]))
