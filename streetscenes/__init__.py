"""Procedural street scenes with exact and coarse labels, for demos and tests without a download."""

from streetscenes.coarse import coarse_label
from streetscenes.labels import Label
from streetscenes.render import Scene, render

__all__ = ["Label", "Scene", "coarse_label", "render"]
