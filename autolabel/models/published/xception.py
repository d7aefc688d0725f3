"""Key map of the published Xception-71: NVIDIA/semantic-segmentation `backbone.*`.

A separable convolution's second norm is not its own there but the next entry of the block. Blocks are lists of
ReLUs, separable convolutions and norms: those that begin with a ReLU are shifted by one.
"""

from __future__ import annotations

from autolabel.models.published.rows import Row, conv_norms

BLOCKS = 20
SHIFTED_FROM = 3  # blocks 1 and 2 do not begin with a ReLU


def _separable(ours: str, theirs: str, norm: str) -> tuple[Row, ...]:
    return (
        (rf"{ours}\.depthwise", f"{theirs}.conv1"),
        (rf"{ours}\.norm", f"{theirs}.bn"),
        (rf"{ours}\.pointwise\.conv", f"{theirs}.pointwise"),
        (rf"{ours}\.pointwise\.norm", norm),
    )


def _block(number: int) -> tuple[Row, ...]:
    ours, theirs = rf"trunk\.blocks\.{number - 1}", f"backbone.block{number}"
    places = [3 * step + (number >= SHIFTED_FROM) for step in range(3)]
    return (
        *conv_norms((rf"{ours}\.shortcut", f"{theirs}.skip", f"{theirs}.skipbn")),
        *(
            row
            for step, at in enumerate(places)
            for row in _separable(rf"{ours}\.steps\.{step}", f"{theirs}.rep.{at}", f"{theirs}.rep.{at + 1}")
        ),
    )


TRUNK = (
    *conv_norms(
        (r"trunk\.stem\.0", "backbone.conv1", "backbone.bn1"),
        (r"trunk\.stem\.1", "backbone.conv2", "backbone.bn2"),
    ),
    *(row for number in range(1, BLOCKS + 1) for row in _block(number)),
    *(
        row
        for i in range(3)
        for row in _separable(rf"trunk\.last\.{i}", f"backbone.conv{i + 3}", f"backbone.bn{i + 3}")
    ),
)
