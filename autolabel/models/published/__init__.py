"""Checkpoints that others published: their key layout, one map a layout, so that our own module names stay clean."""

from autolabel.models.published.detect import Choice
from autolabel.models.published.importing import Imported, import_weights
from autolabel.models.published.layout import load_published, published_keys, published_state

__all__ = ["Choice", "Imported", "import_weights", "load_published", "published_keys", "published_state"]
