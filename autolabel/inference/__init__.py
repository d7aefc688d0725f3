"""Inference: from images to fused logits and codes."""

from autolabel.inference.multiscale import multiscale_logits

__all__ = ["multiscale_logits"]
