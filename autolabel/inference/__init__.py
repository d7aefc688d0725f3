"""Inference: from images to fused logits."""

from autolabel.inference.multiscale import MultiscaleEvidence, multiscale_evidence, multiscale_logits

__all__ = ["MultiscaleEvidence", "multiscale_evidence", "multiscale_logits"]
