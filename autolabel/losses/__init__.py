"""Losses on logits and label maps. They ignore every pixel whose label is not a class, such as 255."""

from autolabel.losses.masking import LossNormalizer, class_weights, loss_normalizer, pixel_weights
from autolabel.losses.pixelwise import bce_loss, cross_entropy
from autolabel.losses.rmi import rmi_loss
from autolabel.losses.training_loss import training_loss

__all__ = [
    "LossNormalizer",
    "bce_loss",
    "class_weights",
    "cross_entropy",
    "loss_normalizer",
    "pixel_weights",
    "rmi_loss",
    "training_loss",
]
