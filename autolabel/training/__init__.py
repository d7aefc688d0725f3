"""Training a network: one loop for teacher and student."""

from autolabel.training.loop import FitResult, TrainingData, fit, num_steps

__all__ = ["FitResult", "TrainingData", "fit", "num_steps"]
