"""Pictures on their way to the device."""

from __future__ import annotations

import torch
from torch import Tensor


class Upload:
    """Pictures to the device. On CUDA from pinned memory, on a stream of its own: while the network works on one batch
    the next one travels."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def pinned(self, pictures: Tensor) -> Tensor:
        """Where the device can read it by itself. A copy that costs time: call it beside the network's thread."""
        return pictures if self._stream is None else pictures.pin_memory()

    def __call__(self, pictures: Tensor) -> Tensor:
        """On the device, for work that the current stream is given from now on."""
        if self._stream is None:
            return pictures.to(self._device)
        with torch.cuda.stream(self._stream):
            images = self.pinned(pictures).to(self._device, non_blocking=True)
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        images.record_stream(current)  # it belongs to the other stream: not to be reused before this one is done
        return images
