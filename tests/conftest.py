"""Fixtures every test may use."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Before torch is imported, and for the programs that tests start: workers run side by side, one core each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "500")

# A shell's background jobs ignore Ctrl-C, and so would programs they start: tests must not depend on that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No verdict depends on the clock, not even that of an example that takes long to draw on a busy machine.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A crash ends the run: with `--dist loadgroup`, pytest-xdist 3.8 would hang after it."""
    if error:
        pytest.exit(f"worker {node.gateway.id} crashed: {error}", returncode=3)


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data beside the checkout; absent on a user's machine, required in CI."""
    if SHARED.is_dir():
        return SHARED
    if os.environ.get("CI"):
        pytest.fail(f"{SHARED} is missing in CI")
    pytest.skip("needs the reference data beside the checkout")


@pytest.fixture(scope="session")
def encode_video() -> Callable[..., bytes]:
    """(frames (H, W, 3), container, codec) -> the bytes of a small video of ten frames a second.

    `gop`: frames from one keyframe to the next; further names are options of the encoder.
    """
    import av

    def encode(
        frames: Sequence[np.ndarray],
        container: str = "mov",
        codec: str = "png",
        *,
        gop: int = 12,
        index_first: bool = False,
        **options: str,
    ) -> bytes:
        name = {"mkv": "matroska"}.get(container, container)
        layout = {"movflags": "faststart"} if index_first else {}
        with (
            tempfile.NamedTemporaryFile() as file,
            av.open(file.name, "w", format=name, container_options=layout) as box,
        ):
            stream = box.add_stream(codec, rate=10, options=options)
            stream.codec_context.gop_size = gop
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
            for frame in frames:
                box.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            box.mux(stream.encode())
            box.close()
            return Path(file.name).read_bytes()

    return encode
