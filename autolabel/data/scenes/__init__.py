"""Procedural street scenes with exact and coarse labels: data for demonstrations and tests that needs no download."""

from autolabel.data.scenes.coarse import coarse_label
from autolabel.data.scenes.labels import Label
from autolabel.data.scenes.render import Scene, render

__all__ = ["Label", "Scene", "coarse_label", "render"]
