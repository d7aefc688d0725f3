"""Running a pipeline: reuse what is committed and intact, make the rest, one step after the other.

A step's key is known once its inputs are committed, so keys are worked out on the way. Before a step consumes an
input all its bytes are checked; a damaged artefact is renamed aside and made again (promises P1, P2, P4).
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolabel import __version__
from autolabel.config.base import Config
from autolabel.config.schema import Experiment, RuntimeConfig
from autolabel.distributed import SINGLE_PROCESS, ProcessGroup
from autolabel.errors import AutolabelError, ConfigError, CorruptArtefact, naming_settings
from autolabel.flow.changes import reasons
from autolabel.flow.disk_space import check_disk_space, estimate_step, manifest_of, measured_sizes, planned_sizes
from autolabel.flow.environment import Environment, changes, compared, environment_of, require_same
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.keys import input_identities, key_document, stage_key
from autolabel.flow.preflight import preflight
from autolabel.flow.stage import Context, DatasetSizes, setting_name
from autolabel.flow.worker import encode_task
from autolabel.signals import StopFlag
from autolabel.store import INPUT_DIGESTS, Artefact, Draft, InputDigests, delete, find, open_draft, recover, set_aside
from autolabel.store.artefact import final_path, partial_path

if TYPE_CHECKING:
    from autolabel.data.sources.base import SourceListing


@dataclass(frozen=True)
class StepResult:
    """A step that is committed; `fresh` says it already was before this run."""

    node: Node
    artefact: Artefact
    fresh: bool


@dataclass(frozen=True)
class Launcher:
    """Has several processes make one step. While they do, one of them holds the work folder's lock."""

    num_processes: int
    launch: Callable[[Node], None]


@dataclass
class Runner:
    """Brings steps of one pipeline up to date in one work folder (whose lock the caller holds).

    Parallel stages are shared with the other ranks of `world`, which follow (`flow.worker`); or a launcher makes
    them, in processes of their own.
    """

    experiment: Experiment
    work: Path
    runtime: RuntimeConfig
    stop: StopFlag
    say: Callable[[str], None]  # hears of work that is done
    note: Callable[[str], None] = lambda line: None  # hears of work that need not be done
    quiet: bool = False
    world: ProcessGroup = SINGLE_PROCESS
    launcher: Launcher | None = None
    check_lock: Callable[[], None] = lambda: None  # raises if the lock was lost
    allow_other_environment: bool = False  # go on where a step's bytes depend on what changed since it was begun
    restart_other_environment: bool = False  # start such a step over
    rehash: bool = False  # read every input file, also those that look unchanged
    done: dict[str, StepResult] = field(default_factory=dict)
    _unchecked: list[Node] = field(default_factory=list)
    _current: dict[str, Artefact] = field(default_factory=dict)
    _of_files: dict[str, dict[str, Any]] = field(default_factory=dict)  # key documents that list a whole data set
    _intact: set[Path] = field(default_factory=set)
    _num_sent: int = 0
    _plan: SourceListing | None = None
    _planned: DatasetSizes | None = None
    _sizes: tuple[str, DatasetSizes | None] = ("", None)  # of the images of the manifest with this digest

    def __post_init__(self) -> None:
        self._files = InputDigests(
            self.work / INPUT_DIGESTS,
            rehash=self.rehash,
            jobs=self.runtime.jobs,
            quiet=self.quiet,
            check=self.stop.check,
        )

    def run(self, pipeline: Pipeline, targets: list[Node]) -> list[StepResult]:
        """The targets and all they need, committed."""
        nodes = self._unchecked = pipeline.needed_for(targets)
        for node in nodes:
            self.ensure(node)
        return [self.done[node.name] for node in nodes]

    def run_only(self, targets: list[Node]) -> list[StepResult]:
        """The targets alone; raises ConfigError when one of their inputs is not up to date."""
        self._unchecked = targets
        for node in targets:
            for source in node.inputs.values():
                if self.current(source) is None:
                    remedy = f"run `autolabel run EXPERIMENT --until {source.name}` first"
                    raise ConfigError(f"step {node.name!r}", f"its input {source.name!r} is not up to date", remedy)
            self.ensure(node)
        return [self.done[node.name] for node in targets]

    def current(self, node: Node) -> Artefact | None:
        """The committed artefact of a node if all it stands on is committed too; makes nothing."""
        if node.name in self.done:
            return self.done[node.name].artefact
        if node.name not in self._current:  # many ways lead to the manifest, whose key lists a whole data set
            found = {name: self.current(source) for name, source in node.inputs.items()}
            inputs = {name: artefact for name, artefact in found.items() if artefact is not None}
            if len(inputs) < len(found):
                return None
            artefact = find(self.folder(node), stage_key(self._key_document(node, inputs)))
            if artefact is None:
                return None
            self._current[node.name] = artefact
        return self._current[node.name]

    def folder(self, node: Node) -> Path:
        return self.work / "artefacts" / node.name

    def ensure(self, node: Node) -> Artefact:
        """Reuse or make one step; its inputs are brought up to date first."""
        if node.name in self.done:
            return self.done[node.name].artefact
        self.stop.check()
        inputs = {name: self.ensure(source) for name, source in node.inputs.items()}
        document = self._key_document(node, inputs)
        artefact = self._committed(node, stage_key(document))
        if artefact is not None and not self._is_retryable(node, artefact, inputs):
            self.note(f"{node.name}: up to date ({artefact.path.name})")
            self.done[node.name] = StepResult(node, artefact, fresh=True)
            return artefact
        intact = {name: self._intact_input(source) for name, source in node.inputs.items()}
        if any(intact[name].digest != inputs[name].digest for name in intact):
            return self.ensure(node)  # an input was made again with other bytes: the key is another one
        return self._make(node, document, intact)

    def _key_document(self, node: Node, inputs: Mapping[str, Artefact]) -> dict[str, Any]:
        if node.name in self._of_files:
            return self._of_files[node.name]
        try:
            document = key_document(node, input_identities(node, inputs), self._files)
        finally:
            self._files.remember()  # after a stop too: what was read need not be read again
        if not node.inputs:
            self._of_files[node.name] = document
        return document

    def _committed(self, node: Node, key: str) -> Artefact | None:
        """The artefact committed under this key if it is intact; a damaged one is set aside."""
        try:
            artefact = recover(self.folder(node), key)
        except CorruptArtefact as error:
            self._put_aside(node, final_path(self.folder(node), key), [error.what])
            return None
        problems = artefact.verify() if artefact is not None else []
        if artefact is not None and problems:
            self._put_aside(node, artefact.path, problems)
            return None
        return artefact

    def _intact_input(self, node: Node) -> Artefact:
        artefact = self.ensure(node)
        if artefact.path in self._intact:
            return artefact
        problems = artefact.verify(full=True)
        if problems:
            self._put_aside(node, artefact.path, problems)
            del self.done[node.name]
            artefact = self.ensure(node)
            problems = artefact.verify(full=True)
            if problems:
                raise CorruptArtefact(artefact.path, f"is damaged again: {problems[0]}", "check the disk")
        self._intact.add(artefact.path)
        return artefact

    def _is_retryable(self, node: Node, artefact: Artefact, inputs: dict[str, Artefact]) -> bool:
        """Whether it went without items that can be used by now, or what it says of them is damaged; then it is put
        aside."""
        try:
            if not artefact.provenance.get("bad_items") or not node.stage.can_retry(self.experiment, inputs, artefact):
                return False
        except CorruptArtefact:  # perhaps an input is, which is looked at when it is used
            problems = artefact.verify(full=True)
            if problems:
                self._put_aside(node, artefact.path, problems)
            return bool(problems)
        moved = set_aside(artefact.path)
        self.say(f"{node.name}: what was quarantined can be used now; kept as {moved.name}, making it again")
        return True

    def _put_aside(self, node: Node, path: Path, problems: list[str]) -> None:
        moved = set_aside(path)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        self.say(f"{node.name}: damaged, {problems[0]}{more}; kept as {moved.name}, making it again")

    def _preflight(self) -> None:
        """Once, before the first step that is made."""
        todo, self._unchecked = [node for node in self._unchecked if node.name not in self.done], []
        if todo:
            num_processes = self.world.size if self.launcher is None else self.launcher.num_processes
            plan = preflight(self.experiment, todo, num_processes=num_processes)
            self._planned = planned_sizes(plan, self.experiment.data)
            # The estimates of disk space look at its classes: a hundred thousand images need not stay in memory.
            self._plan = replace(plan, images=plan.images[:1], needs_masks=False)

    def _check_disk_space(self, node: Node, key: str, inputs: dict[str, Artefact]) -> None:
        if self._plan is None:
            return
        manifest = manifest_of(node, inputs)
        if manifest is not None and self._sizes[0] != manifest.digest:
            self._sizes = manifest.digest, measured_sizes(manifest)
        sizes = self._planned if manifest is None else self._sizes[1]
        assert sizes is not None
        check_disk_space(node.name, estimate_step(node, self._plan, sizes), partial_path(self.folder(node), key))

    def _make(self, node: Node, document: dict[str, Any], inputs: dict[str, Artefact]) -> Artefact:
        self._preflight()
        key = stage_key(document)
        self._check_disk_space(node, key, inputs)
        if self.launcher is not None and node.stage.parallel:
            return self._launched(self.launcher, node, key)
        self.check_lock()
        if node.inputs:
            self._files.release()
        self.say(f"{node.name}: running ({key[:16]})")
        with suppress(AutolabelError):  # an earlier artefact that is damaged must not end the run
            why = reasons(node, document, inputs, self._files, self.work / "artefacts")
            for line in () if why is None else why.lines:
                self.say(f"{node.name}: {line}")
        start_time = time.time()
        world = self.world if node.stage.parallel else SINGLE_PROCESS
        runtime = world.runtime_for_rank(self.runtime)
        with naming_settings(partial(setting_name, node.settings)):
            uses = node.stage.uses(node.settings, inputs, runtime)
            now = environment_of(runtime, world.size, node.stage.depends_on, uses)
        draft = self._open_draft(node, document, now)
        context = Context(
            node=node.name,
            settings=node.settings,
            seed=node.seed,
            experiment=self.experiment,
            inputs=inputs,
            sources=node.inputs,
            draft=draft,
            runtime=runtime,
            stop=self.stop,
            quiet=self.quiet,
            world=world,
            document=document,
            files=self._files,
        )
        self._broadcast_task(context, key)
        try:
            with naming_settings(partial(setting_name, node.settings)):
                outcome = node.stage.run(context)
        finally:
            self._files.remember()
        provenance = {
            "key": document,
            "experiment": self.experiment.model_dump(mode="json"),
            "bad_items": outcome.bad_items,
            "started": start_time,
            "seconds": time.time() - start_time,
            "processes": world.size,
            "environments": draft.environments,
            **_environment(),
            **outcome.provenance,
        }
        artefact = draft.commit(meta=dict(outcome.meta), provenance=provenance, digests=outcome.digests)
        self._intact.add(artefact.path)  # the commit has just hashed every byte
        self.done[node.name] = StepResult(node, artefact, fresh=False)
        self.say(f"{node.name}: done in {provenance['seconds']:.0f} s")
        return artefact

    def _open_draft(self, node: Node, document: Mapping[str, Any], now: Environment) -> Draft:
        """Record what a step runs on. ConfigError where its bytes would mix two environments."""
        key = stage_key(document)
        draft = open_draft(self.folder(node), key, check_lock=self.check_lock)
        if draft.aside is not None:
            self.say(f"{node.name}: its unfinished work has a damaged record; starts over (kept: {draft.aside.name})")
        if draft.is_started() and not self.allow_other_environment:
            try:
                require_same(node.name, draft.environments, now, compared(node.stage.depends_on, self.runtime))
            except ConfigError:
                if not self.restart_other_environment:
                    raise
                delete(draft.path)
                self.say(f"{node.name}: was begun under another environment; starts over")
                draft = open_draft(self.folder(node), key, check_lock=self.check_lock)
        self._enter_environment(node, draft, now, document)
        return draft

    def _enter_environment(self, node: Node, draft: Draft, now: Environment, document: Mapping[str, Any]) -> None:
        if not draft.is_started():
            if not draft.environments or changes(draft.environments[-1], now, now):
                draft.set_environments([now], document)
            return
        changed = changes(draft.environments[-1], now, now) if draft.environments else []
        if changed:
            self.say(f"{node.name}: goes on under another environment: {', '.join(changed)}")
        if changed or not draft.environments:
            draft.set_environments([*draft.environments, now], document)

    def _broadcast_task(self, context: Context[Config], key: str) -> None:
        if context.world.size > 1:
            context.world.send(self._num_sent, encode_task(context, runtime=self.runtime, key=key))
            self._num_sent += 1

    def finish(self) -> None:
        """Let the other ranks go: no more steps come."""
        self.world.send(self._num_sent, None)

    def _launched(self, launcher: Launcher, node: Node, key: str) -> Artefact:
        launcher.launch(node)
        artefact = self._committed(node, key)
        if artefact is None:
            what = "its processes ended well and made something else"
            raise AutolabelError(node.name, what, "run again, and leave experiment and data alone while it runs")
        self.done[node.name] = StepResult(node, artefact, fresh=False)
        return artefact


def _environment() -> dict[str, Any]:
    return {
        "autolabel": __version__,
        "python": platform.python_version(),
        "torch": version("torch"),
        "machine": platform.machine(),
    }
