"""Key map of the published plain head: NVIDIA/semantic-segmentation `basic.HRNet`."""

from __future__ import annotations

from autolabel.models.published.rows import conv_norms

HEAD = (
    *conv_norms(
        (r"head\.classify\.first", r"seg_head.0", r"seg_head.1"),
        (r"head\.classify\.second", r"seg_head.3", r"seg_head.4"),
    ),
    (r"head\.classify\.last", r"seg_head.6"),
)
