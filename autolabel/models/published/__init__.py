"""Checkpoints that others published: their key layout, one map a layout, so that our own module names stay clean."""

from autolabel.models.published.layout import load_published, published_keys, published_state

__all__ = ["load_published", "published_keys", "published_state"]
