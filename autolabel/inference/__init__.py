"""Inference: from images to fused logits."""

from autolabel.inference.multiscale import multiscale_logits

__all__ = ["multiscale_logits"]
