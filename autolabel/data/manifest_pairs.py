"""The pairs of a manifest."""

from __future__ import annotations

from collections.abc import Sequence

from autolabel.classes import ClassSet
from autolabel.data.pairs import Pair
from autolabel.data.reading import Roots, load_image, load_label
from autolabel.data.rows import ImageRow, LabelRow


class ManifestPairs:
    """Pairs of a manifest, read with their digests checked."""

    def __init__(self, rows: Sequence[tuple[ImageRow, LabelRow]], roots: Roots, classes: ClassSet) -> None:
        self.rows, self.roots, self.classes = rows, roots, classes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Pair:
        image, label = self.rows[index]
        return load_image(image, self.roots), load_label(label, self.roots, self.classes)
