"""Key maps of the published attention heads (NVIDIA/semantic-segmentation, `scale_attn.*`)."""

from __future__ import annotations

from autolabel.models.published.rows import conv_norms

SCALE = (
    *conv_norms(
        (r"attention\.first", r"scale_attn.conv0", r"scale_attn.bn0"),
        (r"attention\.second", r"scale_attn.conv1", r"scale_attn.bn1"),
    ),
    (r"attention\.last", r"scale_attn.conv2"),
)

EXPLICIT = (
    (r"attention\.first", r"scale_attn.0"),
    (r"attention\.last", r"scale_attn.2"),
)
