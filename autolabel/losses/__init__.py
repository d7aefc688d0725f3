"""Losses on logits and label maps. They ignore every pixel whose label is not a class, such as 255."""

from autolabel.losses.masking import LossNormalizer, loss_normalizer
from autolabel.losses.pixelwise import bce_loss, cross_entropy
from autolabel.losses.rmi import rmi_loss
from autolabel.losses.training_loss import training_loss

__all__ = ["LossNormalizer", "bce_loss", "cross_entropy", "loss_normalizer", "rmi_loss", "training_loss"]
