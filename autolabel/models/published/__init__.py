"""Published checkpoints of other projects: key maps to the module names of this one, and their import."""

from autolabel.models.published.detect import Choice
from autolabel.models.published.importing import Imported, import_weights
from autolabel.models.published.layout import load_published, published_keys, published_state

__all__ = ["Choice", "Imported", "import_weights", "load_published", "published_keys", "published_state"]
