"""What a stage is: a declaration that is cheap to import, and a run function that imports its tools late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autolabel.config.schema import Config, Experiment, RuntimeConfig
from autolabel.distributed import SINGLE_PROCESS, ProcessGroup
from autolabel.signals import StopFlag
from autolabel.store import Artefact, Draft

if TYPE_CHECKING:
    from autolabel.data.sources.base import SourceListing


@dataclass(frozen=True)
class StageResult:
    """What a run hands back: `meta` is part of the artefact's digest (deterministic!), `provenance` is not."""

    meta: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)  # sha256 of files as they were written, if remembered
    bad_items: int = 0  # quarantined within max_bad: the whole run then ends with exit code 5


@dataclass(frozen=True)
class Context:
    """Everything a stage may use. Settings decide what is computed, `runtime` only where and how fast.

    A parallel stage runs on every rank of its `world`; only rank 0 writes, and only its Outcome counts.
    """

    node: str
    settings: Any  # the Table given to Pipeline.add
    seed: int
    experiment: Experiment
    inputs: Mapping[str, Artefact]
    draft: Draft
    runtime: RuntimeConfig
    stop: StopFlag
    quiet: bool
    world: ProcessGroup = SINGLE_PROCESS

    def group(self, name: str) -> dict[str, Artefact]:
        """The inputs given as a dict to Pipeline.add: {"fine": ..., "auto": ...}."""
        prefix = f"{name}."
        return {key[len(prefix) :]: artefact for key, artefact in self.inputs.items() if key.startswith(prefix)}

    def roots(self, data: str = "data") -> dict[str, Path]:
        """Where a manifest's declared roots lie: the user's folder, and the artefacts that hold files."""
        return roots_of(self.experiment, self.inputs, data)


def roots_of(experiment: Experiment, inputs: Mapping[str, Artefact], data: str = "data") -> dict[str, Path]:
    source = getattr(experiment.data, "root", None)
    roots = {} if source is None else {"source": Path(source)}
    roots["data"] = inputs[data].data
    if "labels" in inputs:
        roots["labels"] = inputs["labels"].data
    return roots


@dataclass(frozen=True)
class PreflightContext:
    """What is known of a step before anything runs."""

    settings: Any  # the Table given to Pipeline.add
    inputs: Mapping[str, Any]  # settings of the steps it reads from, by the input's name
    data: SourceListing
    num_processes: int = 1  # that share a parallel stage
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


class ImageCount(NamedTuple):
    images: int
    pixels: int | None  # of all of them together; None where nothing says so yet


class DatasetSizes(NamedTuple):
    """The pictures there are, those that a teacher shall label, and those to validate on."""

    all: ImageCount
    unlabelled: ImageCount
    val: ImageCount


class DiskEstimate(NamedTuple):
    """What a step works on, and about how much of the disk it takes."""

    items: int
    bytes: int | None  # None: not known


def table_sized(ahead: PreflightContext, sizes: DatasetSizes) -> DiskEstimate:
    """Of a stage that writes some tables: a row of each picture."""
    return DiskEstimate(sizes.all.images, 1_000_000 + 1000 * sizes.all.images)


def no_checks(ahead: PreflightContext) -> None:
    """Whatever settings.Table lets pass will do."""


def never_retry(experiment: Experiment, inputs: Mapping[str, Artefact], made: Artefact) -> bool:
    """What has no quarantine."""
    return False


def all_settings(settings: Config) -> dict[str, Any]:
    """The settings as they enter the stage key."""
    return settings.model_dump(mode="json")


@dataclass(frozen=True)
class Stage:
    """One kind of step.

    `inputs` maps an input's name to the kind of artefact it takes; a name ending in `.*` takes a dict of them,
    one ending in `?` may be left out. `version` goes up when the same settings would give other bytes. `check` raises
    what `run` would raise of wrong settings: it is asked of all steps before the first of them begins. `parallel`:
    `run` knows how to share its work with the other ranks of `ctx.world`. `mended`: whether items that an artefact of
    just this key has quarantined can be used now; it is asked of no other artefacts. `room`: about what it takes of
    the disk, asked before it begins.
    """

    name: str
    version: int
    output: str
    inputs: Mapping[str, str]
    run: Callable[[Context], StageResult]
    key_settings: Callable[[Any], dict[str, Any]] = all_settings
    check: Callable[[PreflightContext], None] = no_checks
    parallel: bool = False
    room: Callable[[PreflightContext, DatasetSizes], DiskEstimate] = table_sized
    can_retry: Callable[[Experiment, Mapping[str, Artefact], Artefact], bool] = never_retry
