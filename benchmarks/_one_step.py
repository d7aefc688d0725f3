"""A teacher that trains one step: benchmarks of files and processes need some network, and no time for it."""

from __future__ import annotations

TEACHER = """
[teacher]
crop = [32, 32]
batch = 2
epochs = 1
epoch_images = 2
tile = 32
[teacher.model]
trunk = "resnet_tiny"
head = "conv"
fusion = "average"
key_channels = 8
"""
