"""The confusion matrix, from which every quality figure is derived."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def confusion_matrix(
    prediction: NDArray[np.integer], label: NDArray[np.integer], num_classes: int
) -> NDArray[np.int64]:  # (K, K + 1)
    """Count pixels by label (row) and prediction (column); the last column counts "predicted ignore".

    Both maps hold train ids and have one shape; any value outside 0..K-1 means ignore. Pixels whose *label* is
    ignored are left out. A pixel that is labelled but predicted as ignore is a miss of its class, as in the official
    Cityscapes evaluation. Matrices of several images add up.
    """
    assert prediction.shape == label.shape, f"prediction {prediction.shape}, label {label.shape}"
    width = num_classes + 1
    index = _bounded(label, num_classes) * width + _bounded(prediction, num_classes)
    counts = np.bincount(index.ravel(), minlength=width * width)
    return counts.reshape(width, width)[:num_classes].astype(np.int64)


def _bounded(classes: NDArray[np.integer], num_classes: int) -> NDArray[np.int32]:
    """Map everything outside 0..K-1 to K."""
    if classes.dtype == np.uint8:
        table = np.minimum(np.arange(256, dtype=np.int32), num_classes)  # several times faster than comparing
        bounded: NDArray[np.int32] = table[classes]
        return bounded
    outside = (classes < 0) | (classes >= num_classes)
    return np.where(outside, num_classes, classes).astype(np.int32)
