"""Uploads: nothing happens on a CPU; on CUDA the order of calls makes a side stream safe."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from autolabel.inference.model import Upload


def test_on_a_cpu_images_stay_where_they_are() -> None:
    images = torch.zeros(2, 4, 5, 3, dtype=torch.uint8)
    upload = Upload(torch.device("cpu"))
    assert upload(images) is upload.pinned(images) is images


def test_the_networks_stream_waits_for_the_upload_and_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Stream:
        def __init__(self, name: str) -> None:
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            calls.append(f"{self.name} waits for {other.name}")

    class Images:
        def pin_memory(self) -> Images:
            calls.append("pinned")
            return self

        def to(self, device: torch.device, *, non_blocking: bool) -> Images:
            calls.append(f"to {device}, non_blocking={non_blocking}")
            return self

        def record_stream(self, stream: Stream) -> None:
            calls.append(f"kept for {stream.name}")

    @contextmanager
    def on(stream: Stream):
        calls.append(f"on {stream.name}")
        yield
        calls.append(f"off {stream.name}")

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("copies"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("network"))
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "device", lambda device: on(Stream(str(device))))
    Upload(torch.device("cuda:1"))(Images())  # type: ignore[arg-type]
    pinned = ["on cuda:1", "pinned", "off cuda:1"]  # else a worker of another GPU takes memory of the first one
    moved = ["on copies", *pinned, "to cuda:1, non_blocking=True", "off copies"]
    assert calls == [*moved, "network waits for copies", "kept for network"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_images_arrive() -> None:
    images = torch.arange(60, dtype=torch.uint8).view(1, 4, 5, 3)
    upload = Upload(torch.device("cuda"))
    assert upload(upload.pinned(images)).cpu().equal(images)
