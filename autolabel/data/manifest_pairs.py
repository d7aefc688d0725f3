"""The samples of a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autolabel.classes import ClassSet
from autolabel.data.pairs import Sample
from autolabel.data.reading import Roots, load_confidence, load_image, load_label
from autolabel.data.rows import ImageRow, LabelRow


class ManifestPairs:
    """Samples of a manifest, read with their digests checked.

    `confidence`: path and sha256 of an auto label's map of confidence, by image id. Samples then come with confidence:
    labels that no teacher made count 1 everywhere.
    """

    def __init__(
        self,
        rows: Sequence[tuple[ImageRow, LabelRow]],
        roots: Roots,
        classes: ClassSet,
        confidence: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.rows, self.roots, self.classes, self.confidence = rows, roots, classes, confidence

    @property
    def has_confidence(self) -> bool:
        return self.confidence is not None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        image_row, label_row = self.rows[index]
        image = load_image(image_row, self.roots)
        label = load_label(label_row, self.roots, self.classes)
        return Sample(image, label, self._confidence(label_row, label.shape))

    def _confidence(self, row: LabelRow, shape: tuple[int, ...]) -> np.ndarray | None:
        if self.confidence is None:
            return None
        if row.role != "auto":
            return np.full(shape, 255, np.uint8)
        file = self.confidence[row.image_id]
        return load_confidence(self.roots, row.root, file["path"], file["sha256"], shape=shape)
