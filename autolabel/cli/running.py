"""The runner of a work folder, for the commands that make artefacts. Commands that only read do not import it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from autolabel.cli.launch import launch
from autolabel.cli.options import Project, RunOptions
from autolabel.distributed import SINGLE_PROCESS, ProcessGroup
from autolabel.flow.graph import Node
from autolabel.flow.runner import Launcher, Runner
from autolabel.progress import print_progress
from autolabel.signals import StopFlag
from autolabel.store import ensure_mark, hold_lock


@dataclass(frozen=True)
class LaunchPlan:
    """The processes that `run` starts for a parallel step: their number and their arguments."""

    number: int
    arguments: Callable[[Node], list[str]]


@contextmanager
def running(
    project: Project,
    how: RunOptions,
    stop: StopFlag,
    *,
    world: ProcessGroup = SINGLE_PROCESS,
    ranks: LaunchPlan | None = None,
    rehash: bool = False,
) -> Iterator[Runner]:
    """A runner that holds the lock of the work folder. While processes launched by it work, they hold the lock."""
    lock_file = project.work / "lock"

    def silent(line: str) -> None:
        pass

    def launch_unlocked(node: Node) -> None:
        assert ranks is not None
        lock.close()
        launch(
            ranks.arguments(node),
            num_processes=ranks.number,
            step=node.name,
            memory_setting=node.stage.memory_setting,
            stop=stop,
        )
        held[:] = [lock.enter_context(hold_lock(lock_file))]

    with ExitStack() as lock:
        held = [lock.enter_context(hold_lock(lock_file))]  # another one after each launch
        ensure_mark(project.work)
        yield Runner(
            project.experiment,
            project.work,
            how.runtime(project.experiment.runtime),
            stop,
            say=silent if how.quiet else print_progress,
            note=print_progress if how.verbose and not how.quiet else silent,
            quiet=how.quiet,
            world=world,
            launcher=None if ranks is None else Launcher(ranks.number, launch_unlocked),
            check_lock=lambda: held[0].check(),
            allow_other_environment=how.allow_other_environment,
            restart_other_environment=how.restart_other_environment,
            rehash=rehash,
        )
