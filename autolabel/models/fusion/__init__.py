"""Fusions: how the evidence of several scales becomes one map of logits.

A new fusion is a subclass of `Fusion` in a module of its own and one entry of `FUSIONS`.
"""

from __future__ import annotations

from autolabel.models.fusion.average import Average
from autolabel.models.fusion.base import Fusion, ScaledOutput, StridedOutput, Term
from autolabel.models.fusion.explicit import Explicit, ExplicitAttention
from autolabel.models.fusion.hierarchical import Hierarchical, ScaleAttention, fuse_pair

FUSIONS: dict[str, Fusion] = {
    "hierarchical": Hierarchical(),
    "explicit": Explicit(),
    # One fusion: train on scale 1.0, average the scales of labelling. `average` is its name in published tables.
    "average": Average(),
    "single": Average(),
}

__all__ = [
    "FUSIONS",
    "ExplicitAttention",
    "Fusion",
    "ScaleAttention",
    "ScaledOutput",
    "StridedOutput",
    "Term",
    "fuse_pair",
]
