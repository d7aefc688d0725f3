"""Key map of the published WiderResNet-38 A2: NVIDIA/semantic-segmentation `backbone.*`, and its ImageNet checkpoint.

Batch norms sit one level deeper (`.0`): they are paired with their ReLU. Groups are numbered from 2, after the stem.
"""

from __future__ import annotations

from autolabel.models.published.rows import Row

MOST_BLOCKS = 6  # in a group
LAYERS = {
    "norm": "bn1.0",
    "first": "convs.conv1",
    r"rest\.0\.norm": "convs.bn2.0",
    r"rest\.0\.conv": "convs.conv2",
    r"rest\.1\.norm": "convs.bn3.0",
    r"rest\.1\.conv": "convs.conv3",
    "project": "proj_conv",
}


def _group(ours: int) -> tuple[Row, ...]:
    return tuple(
        (rf"trunk\.groups\.{ours}\.{i}\.{layer}", f"backbone.mod{ours + 2}.block{i + 1}.{theirs}")
        for i in range(MOST_BLOCKS)
        for layer, theirs in LAYERS.items()
    )


TRUNK = (
    (r"trunk\.stem", "backbone.mod1.conv1"),
    *(row for ours in range(6) for row in _group(ours)),
)
