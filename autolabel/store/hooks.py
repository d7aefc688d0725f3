"""The one point through which every change of the disk goes, so that tests can observe it, fail it or die at it.

`durable` wraps each system call that changes the disk in `effect(...)`. Without observers that costs a list look-up.
An observer sees each effect before and after it happens, in order, with the bytes written: enough to kill the process
at every step, to inject an error (raise OSError in "before"), and to replay what a power cut could have left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autolabel.store.files import Bytes

Kind = Literal["create", "write", "append", "truncate", "fsync", "rename", "unlink", "mkdir", "rmdir", "fsync_folder"]
Phase = Literal["before", "after"]


@dataclass(frozen=True)
class Effect:
    kind: Kind
    path: Path
    target: Path | None = None  # rename: the new path
    data: Bytes = b""  # write, append: the bytes; copy them to keep them
    size: int = 0  # truncate: the new length


Observer = Callable[[Phase, Effect], None]

# The only module state of the store, and empty outside tests. A context variable would not do: write_files works in
# threads, and a new thread starts with an empty context.
_observers: list[Observer] = []


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Shows every effect of this process to `observer`, which may be called from several threads at once."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


@contextmanager
def effect(kind: Kind, path: Path, *, target: Path | None = None, data: Bytes = b"", size: int = 0) -> Iterator[None]:
    """Wraps one system call. Its errors pass through; then there is no "after"."""
    if not _observers:
        yield
        return
    change = Effect(kind, path, target, data, size)
    for observer in _observers:
        observer("before", change)
    yield
    for observer in _observers:
        observer("after", change)
