"""Tests of the extra `timm` run in an environment of its own (`make test-timm`): torchvision must not be where the
others run."""

from __future__ import annotations

import os
import sys

# Before torch is imported: threads that wait for one another cost more than they bring for networks this small.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from torch import library as operators


def _declare_operators() -> operators.Library:
    """A torchvision built for CUDA does not import beside a CPU torch: its compiled operators are missing. Networks
    use none of them, so declaring them is enough."""
    declared = operators.Library("torchvision", "DEF")
    declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return declared


try:
    import torchvision  # noqa: F401
except RuntimeError:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    OPERATORS = _declare_operators()  # alive as long as they are to exist
