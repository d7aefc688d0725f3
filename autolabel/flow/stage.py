"""A stage: a declaration that is cheap to import, and a run function that imports its tools late."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from autolabel.config.base import Config
from autolabel.config.schema import Experiment, RuntimeConfig
from autolabel.distributed import SINGLE_PROCESS, ProcessGroup
from autolabel.errors import DataError
from autolabel.flow.environment import NOTHING_MORE, Uses
from autolabel.signals import StopFlag
from autolabel.store import Artefact, Draft, InputDigests

if TYPE_CHECKING:
    from autolabel.data.parts import PartChange
    from autolabel.data.sources.base import SourceListing
    from autolabel.flow.graph import Node

T = TypeVar("T")
S = TypeVar("S", bound=Config)
S_co = TypeVar("S_co", bound=Config, covariant=True)


@dataclass(frozen=True)
class StageResult:
    """The result of a run: `meta` is part of the artefact's digest (deterministic!), `provenance` is not."""

    meta: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)  # sha256 of files as they were written, if remembered
    bad_items: int = 0  # quarantined within max_bad: the whole run then ends with exit code 5


@dataclass(frozen=True)
class Context(Generic[S_co]):
    """Everything a stage may use. Settings decide what is computed, `runtime` only where and how fast.

    A parallel stage runs on every rank of its `world`; only rank 0 writes, and only its StageResult counts.
    """

    node: str
    settings: S_co  # passed to Pipeline.add
    seed: int
    experiment: Experiment
    inputs: Mapping[str, Artefact]
    sources: Mapping[str, Node]  # the steps that make the inputs
    draft: Draft
    runtime: RuntimeConfig
    stop: StopFlag
    quiet: bool
    world: ProcessGroup = SINGLE_PROCESS
    document: Mapping[str, Any] = field(default_factory=dict)  # the key document (`flow.keys`)
    files: InputDigests = field(default_factory=InputDigests)  # those that the key was made with

    @property
    def identity(self) -> Mapping[str, Any]:
        """The settings as they stand in the key. A file that they name must have its digest in there when used."""
        identity: Mapping[str, Any] = self.document.get("settings", {})
        return identity

    def group(self, name: str) -> dict[str, Artefact]:
        """The inputs that Pipeline.add takes as a dict: {"fine": ..., "auto": ...}."""
        return input_group(self.inputs, name)

    def roots(self, data: str = "data") -> dict[str, Path]:
        """Where a manifest's declared roots lie: the user's folder, and the artefacts that hold files."""
        return roots_of(self.experiment, self.inputs, data)


def input_group(inputs: Mapping[str, T], name: str) -> dict[str, T]:
    """The members of the group `name` among a step's inputs, whose names are "group.member"."""
    split = ((key.partition("."), value) for key, value in inputs.items())
    return {member: value for (group, dot, member), value in split if dot and group == name}


def roots_of(experiment: Experiment, inputs: Mapping[str, Artefact], data: str = "data") -> dict[str, Path]:
    source = getattr(experiment.data, "root", None)
    roots = {} if source is None else {"source": Path(source)}
    roots["data"] = inputs[data].data
    if "labels" in inputs:
        roots["labels"] = inputs["labels"].data
    if "fused" in inputs:
        roots["fused"] = inputs["fused"].data
    return roots


@dataclass(frozen=True)
class PreflightContext(Generic[S_co]):
    """The facts about a step that are known before anything runs."""

    settings: S_co  # passed to Pipeline.add
    inputs: Mapping[str, Config]  # settings of the steps it reads from, by the input's name
    data: SourceListing
    num_processes: int = 1  # that share a parallel stage
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def input_settings(self, name: str, kind: type[S]) -> S:
        """The settings of the step that makes the input `name`."""
        settings = self.inputs[name]
        assert isinstance(settings, kind), f"{name}: {type(settings).__name__}"
        return settings

    def require_labels(self, split: str, roles: Collection[str], remedy: str) -> None:
        """DataError unless some image of the split has a label of one of the roles."""
        images = (image for image in self.data.images if image.split == split)
        if not any(label.role in roles for image in images for label in image.labels):
            raise DataError(self.data.root, f"no {split} image has a label of {' or '.join(roles)}", remedy)


def setting_name(settings: Config, name: str) -> str:
    """The full name of a setting that a stage used: one of its own, or one of `runtime`."""
    own = name.partition(".")[0] in type(settings).model_fields
    return settings.place(name) if own else RuntimeConfig().place(name)


class ImageCount(NamedTuple):
    images: int
    pixels: int | None  # of all of them together; None where nothing says so yet


class DatasetSizes(NamedTuple):
    """The images there are, those that a teacher shall label, and those to validate on."""

    all: ImageCount
    unlabelled: ImageCount
    val: ImageCount


class DiskEstimate(NamedTuple):
    """The number of items of a step, and an estimate of the disk space it takes."""

    items: int
    bytes: int | None  # None: not known


def table_sized(ahead: PreflightContext[Any], sizes: DatasetSizes) -> DiskEstimate:
    """The estimate for a stage that writes some tables with a row an image."""
    return DiskEstimate(sizes.all.images, 1_000_000 + 1000 * sizes.all.images)


def no_checks(ahead: PreflightContext[Any]) -> None:
    """For a stage that takes all settings their schema allows."""


def whole_inputs(settings: Config) -> Mapping[str, tuple[str, ...]]:
    """For a stage whose key holds the root digest of every input."""
    return {}


def no_input_changes(settings: Any, files: InputDigests, made: Artefact) -> list[PartChange]:
    """For a stage that reads no files of the user's."""
    return []


def never_retry(experiment: Experiment, inputs: Mapping[str, Artefact], made: Artefact) -> bool:
    """For a stage without a quarantine."""
    return False


def nothing_more(settings: Config, inputs: Mapping[str, Artefact], runtime: RuntimeConfig) -> Uses:
    """For a stage that uses what all stages use, and no network."""
    return NOTHING_MORE


def all_settings(settings: Config, files: InputDigests | None = None) -> dict[str, Any]:
    """The settings as they enter the stage key, for a stage whose settings name no files."""
    return settings.for_key()


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[S]):
    """One kind of step, with settings of type `S`."""

    name: str
    version: int  # goes up when the same settings would give other bytes
    output: str  # kind of the artefact it makes
    # Kind of artefact by the input's name. A name that ends in `.*` takes a dict of them; one that ends in `?` may be
    # left out.
    inputs: Mapping[str, str]
    run: Callable[[Context[S]], StageResult]
    # The settings as they enter the key, with the digests of the files that they name.
    key_settings: Callable[[S, InputDigests], dict[str, Any]] = all_settings
    # Input -> names of the parts of a manifest that the stage reads (`data/parts.py`): only these enter the key.
    reads: Callable[[S], Mapping[str, tuple[str, ...]]] = whole_inputs
    # How the user's files differ from those that an earlier artefact of the stage was made from.
    input_changes: Callable[[S, InputDigests, Artefact], list[PartChange]] = no_input_changes
    # Advice where the step is made again because its inputs have changed; {path} is the earlier artefact's.
    remark: str = ""
    # Raises what `run` would raise of wrong settings; asked of all steps before the first one begins.
    check: Callable[[PreflightContext[S]], None] = no_checks
    # The parts of the environment that its bytes depend on: versions, device, threads, processes (`flow.environment`).
    depends_on: frozenset[str] = frozenset({"versions"})
    # Its needs beyond those of all steps, with these inputs.
    uses: Callable[[S, Mapping[str, Artefact], RuntimeConfig], Uses] = nothing_more
    parallel: bool = False  # `run` shares its work with the other ranks of `ctx.world`
    memory_setting: str | None = None  # the runtime setting that bounds the memory of `run`: "runtime.infer_batch"
    disk_estimate: Callable[[PreflightContext[S], DatasetSizes], DiskEstimate] = table_sized
    # Whether items that an artefact of just this key has quarantined can be used now; asked of no other artefacts.
    can_retry: Callable[[Experiment, Mapping[str, Artefact], Artefact], bool] = never_retry
