"""Published weights from the Hugging Face hub: fetched once by `autolabel fetch`, then read from the local cache alone.

`table` lists what is known, `fetch` talks to a hub, and `record` finds and checks what lies in the cache.
"""

from autolabel.hub.record import Fetched, fetched, require_fetched, snapshot_folder
from autolabel.hub.table import ENTRIES, Entry, licence_of

__all__ = ["ENTRIES", "Entry", "Fetched", "fetched", "licence_of", "require_fetched", "snapshot_folder"]
