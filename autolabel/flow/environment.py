"""The environment of a step, as far as its bytes may depend on it: versions, device, threads, processes.

None of it enters a stage key. A step that goes on under another environment says so; where its bytes depend on what
changed (`Stage.depends_on`), one artefact would mix two results, so that needs the user's word.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from autolabel import __version__
from autolabel.config.schema import RuntimeConfig
from autolabel.errors import ConfigError
from autolabel.hardware import device_kind, resolve_device, usable_cores

VERSIONS, DEVICE, THREADS, PROCESSES = "versions", "device", "threads", "processes"
PRECISION = "precision"  # stated only where a step chose its number format itself
_PACKAGES = ("torch", "numpy", "pillow", "h5py")  # `Uses` adds those that a step needs beyond them

_REMEDY = "run it as before, start it over with --restart-other-environment, or mix both with --allow-other-environment"
Environment = Mapping[str, Any]


class Uses(NamedTuple):
    """The needs of one step: packages that not every step uses, and the device if it is not the one of `runtime`."""

    packages: tuple[str, ...] = ()
    device: str | None = None
    more: Mapping[str, Any] = {}  # other fields to record


NOTHING_MORE = Uses()


def environment_of(
    runtime: RuntimeConfig, processes: int, depends_on: Collection[str], uses: Uses = NOTHING_MORE
) -> dict[str, Any]:
    """The environment of this process; the device, which needs torch, only where a step depends on it."""
    found: dict[str, Any] = {
        **uses.more,
        VERSIONS: _versions((*_PACKAGES, *uses.packages)),
        THREADS: runtime.threads or usable_cores(),
        PROCESSES: processes,
    }
    return found | ({DEVICE: device_kind(uses.device or runtime.device)} if DEVICE in depends_on else {})


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {"autolabel": __version__, "zlib": zlib.ZLIB_RUNTIME_VERSION}
    installed = ((name, _version(name)) for name in packages)
    return found | {name: number for name, number in installed if number is not None}


@cache  # every step asks, and each answer parses a file
def _version(package: str) -> str | None:
    """None where it is not installed: an extra."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def compared(depends_on: frozenset[str], runtime: RuntimeConfig) -> frozenset[str]:
    """The fields to compare of those that a step depends on: sums on a GPU do not depend on the CPU's threads."""
    on_gpu = THREADS in depends_on and resolve_device(runtime.device).startswith("cuda")
    return depends_on - {THREADS} if on_gpu else depends_on


def changes(before: Environment, now: Environment, fields: Collection[str]) -> list[str]:
    """The fields that differ, as text: "threads 2 -> 4". A field that one of the two does not state is equal."""
    found = []
    for field in sorted(set(fields) & before.keys() & now.keys()):
        if field == VERSIONS and isinstance(before[field], Mapping):
            old, new = before[field], now[field]
            found += [f"{k} {old.get(k)} -> {new.get(k)}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
        elif before[field] != now[field]:
            found.append(f"{field} {before[field]} -> {now[field]}")
    return found


def require_same(step: str, earlier: Sequence[Environment], now: Environment, depends_on: Collection[str]) -> None:
    """ConfigError where a step's bytes depend on a change since it was begun."""
    if earlier and (mixed := changes(earlier[-1], now, depends_on)):
        what = f"was begun under another environment ({', '.join(mixed)}), on which its result depends"
        raise ConfigError(step, what, _REMEDY)
