"""The sizes of `gpu.py`."""

from __future__ import annotations

from typing import NamedTuple


class Sizes(NamedTuple):
    trunk: str
    channels: dict[str, int]  # of head and attention; empty = published
    image: tuple[int, int]
    images: int
    crop: tuple[int, int]
    batch: int
    rounds: int
    segformer: dict[str, list[int] | int]  # of transformers' SegformerConfig


FULL = Sizes(
    trunk="hrnet_w48",
    channels={},
    image=(1024, 2048),
    images=4,
    crop=(512, 1024),
    batch=4,
    rounds=5,
    segformer={"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
)
SMALL = Sizes(
    trunk="hrnet_tiny",
    channels={"head_channels": 16, "key_channels": 8, "attention_channels": 8},
    image=(64, 128),
    images=1,
    crop=(64, 64),
    batch=2,
    rounds=1,
    segformer={
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 8, 16, 16],
        "num_attention_heads": [1, 1, 2, 2],
        "decoder_hidden_size": 16,
    },
)
