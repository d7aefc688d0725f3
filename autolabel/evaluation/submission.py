"""Prediction files as the Cityscapes benchmark reads them (`cityscapesscripts`, evalPixelLevelSemanticLabeling).

Each image has one 8-bit single-channel PNG of the data set's *ids* (not train ids) in the size of the ground truth. Its
name is `<city>_<sequence>_<frame>*.png`. The official script reads all files from the folder CITYSCAPES_RESULTS.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autolabel.classes import ClassSet
from autolabel.labels import png
from autolabel.store.names import safe_name


def submission_name(image_id: str) -> str:
    """File name of an image's prediction: "frankfurt_000000_000294" -> "frankfurt_000000_000294_pred_labelIds.png".

    The ids of Cityscapes images stay readable; ids of other data sets are made safe for a file system.
    """
    return safe_name(image_id, "_pred_labelIds.png")


def encode_submission(train_ids: NDArray[np.uint8], classes: ClassSet) -> bytes:
    """The PNG file of a prediction (H, W) of train ids; ignored pixels get the first ignored id (0, "unlabeled")."""
    assert train_ids.dtype == np.uint8, f"train ids are uint8, not {train_ids.dtype}"
    return png.encode(classes.to_id()[train_ids])
