"""Fusions: they combine the outputs of several scales into one map of logits.

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
    # Both names train on scale 1.0 and average the labelling scales; `average` is the name in published tables.
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
