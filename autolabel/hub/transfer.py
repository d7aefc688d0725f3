"""The transfer of one file from a hub, in blocks that are on the disk before the next one comes.

The hub's own library begins a file again after a kill, so the transfer is ours: it asks for the bytes that are missing
(Range), whether a connection broke or the process was killed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autolabel.errors import AutolabelError, WeightsError
from autolabel.progress import Progress
from autolabel.store.durable import append_file, ensure_file, truncate_file

BLOCK = 4 * 2**20  # bytes between two fsyncs: a kill loses no more of a file
TIMEOUT = 30.0  # seconds without a byte


def download(url: str, headers: Mapping[str, str], target: Path, size: int, *, progress: Progress) -> None:
    """Complete `target`, which may hold the first bytes already, to `size` bytes. Its digest is the caller's to check.

    A broken connection is opened again as long as each one brings something. Raises the errors of httpx2 and
    huggingface_hub, and AutolabelError or WeightsError where the length is not the one promised.
    """
    import httpx2

    at = _resume_at(target, size)
    progress.update(at)
    while at < size:
        try:
            _receive(url, headers, target, at, size, progress)
            failure = None
        except httpx2.TransportError as error:
            failure = error
        before, at = at, target.stat().st_size
        if at <= before:
            raise failure or AutolabelError(url, f"ends after {at:,} of {size:,} bytes", "run the same command again")


def _resume_at(target: Path, size: int) -> int:
    """The number of bytes that are there already; a file that is too long is begun again."""
    ensure_file(target)
    at = target.stat().st_size
    if at <= size:
        return at
    truncate_file(target, 0)
    return 0


def _receive(url: str, headers: Mapping[str, str], target: Path, at: int, size: int, progress: Progress) -> None:
    from huggingface_hub.utils import get_session, hf_raise_for_status

    asked = {**headers, "Range": f"bytes={at}-", "Accept-Encoding": "identity"}
    with get_session().stream("GET", url, headers=asked, timeout=TIMEOUT) as response:
        if response.status_code >= 400:
            response.read()  # the error's text
        hf_raise_for_status(response)
        if response.status_code != 206 and at:  # the server sends the whole file
            truncate_file(target, 0)
            progress.update(-at)
            at = 0
        _append(response, target, at, size, progress)


def _append(response: Any, target: Path, at: int, size: int, progress: Progress) -> None:
    import httpx2

    block = bytearray()

    def flush() -> None:
        nonlocal at
        if at + len(block) > size:
            raise WeightsError(target, f"the hub sends more than the {size:,} bytes that it lists", "report it there")
        if block:
            append_file(target, bytes(block), at=at)
            at += len(block)
            progress.update(len(block))
            block.clear()

    try:
        for chunk in response.iter_bytes():
            block += chunk
            if len(block) >= BLOCK:
                flush()
    except httpx2.TransportError:
        flush()  # what came before the connection broke counts
        raise
    flush()
