"""Procedural street scenes with exact and coarse labels: data for demonstrations and tests that needs no download."""

from streetscenes.coarse import coarse_label
from streetscenes.labels import Label
from streetscenes.render import Scene, render

__all__ = ["Label", "Scene", "coarse_label", "render"]
