"""The pairs of a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autolabel.classes import ClassSet
from autolabel.data.pairs import Pair
from autolabel.data.reading import Roots, load_image, load_label, load_weights
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


class WeighedPairs:
    """The same with weights: labels (H, W, 2) of train ids and weights, 255 = 1. Labels that no teacher made count 1.

    `weights`: path and sha256 of an auto label's map of weights, by image id.
    """

    def __init__(self, pairs: ManifestPairs, weights: Mapping[str, Mapping[str, str]]) -> None:
        self.pairs, self.weights = pairs, weights

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        image, label = self.pairs[index]
        row = self.pairs.rows[index][1]
        if row.role == "auto":
            found = self.weights[row.image_id]
            weights = load_weights(self.pairs.roots, row.root, found["path"], found["sha256"], shape=label.shape)
        else:
            weights = np.full_like(label, 255)
        return image, np.stack([label, weights], axis=2)
