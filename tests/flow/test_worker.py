"""Two ranks of one job: rank 0 tells the other one which step to run, and the other one runs it with the same facts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import HashStore

from autolabel.config.schema import InferConfig, LabelConfig, RuntimeConfig
from autolabel.distributed import ProcessGroup
from autolabel.errors import ConfigError, SettingError
from autolabel.flow import worker
from autolabel.flow.graph import Pipeline
from autolabel.flow.runner import Runner
from autolabel.flow.stage import Context, StageResult
from autolabel.flow.worker import run_worker
from autolabel.signals import StopFlag, Stopped
from tests.flow.small import EXPERIMENT, NUMBERS, filter_numbers
from tests.helpers.hang import HANG_SECONDS

RUNTIME = RuntimeConfig(device="cpu", threads=3, jobs=1)


class Job:
    """Both ranks of a job in this process. The step ends on rank 0 when it has ended on the other rank."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, then: Callable[[Context], None] = lambda context: None):
        self.seen: dict[int, list[Context]] = {0: [], 1: []}
        self._then, self._other_is_done = then, threading.Semaphore(0)
        self.ranks = [ProcessGroup(rank, 2, rank, 2, store) for store in [HashStore()] for rank in (0, 1)]
        self.failure: list[Exception] = []
        monkeypatch.setattr(worker, "load_pipeline", lambda experiment: self.pipeline())

    def pipeline(self) -> Pipeline:
        p = Pipeline()
        shared = replace(NUMBERS, name="shared", inputs={"numbers": "numbers"}, run=self._shared, parallel=True)
        numbers = p.add("numbers", NUMBERS, InferConfig(chunk=3))
        for name, threshold in (("low", 0.1), ("high", 0.2)):
            p.add(name, shared, LabelConfig(threshold=threshold), seed=7, numbers=numbers)
        return p

    def _shared(self, context: Context) -> StageResult:
        self.seen[context.world.rank].append(context)
        if not context.world.is_rank0:
            self._then(context)
            self._other_is_done.release()
            return StageResult(meta={"rank": 1})
        assert self._other_is_done.acquire(timeout=HANG_SECONDS)
        return filter_numbers(context)

    def run(self, work: Path) -> Runner:
        thread = threading.Thread(target=self._follow)
        thread.start()
        machine = Runner(EXPERIMENT, work, RUNTIME, StopFlag(), print, world=self.ranks[0])
        pipeline = self.pipeline()
        machine.run(pipeline, list(pipeline.nodes.values()))
        machine.finish()
        thread.join(HANG_SECONDS)
        assert not thread.is_alive(), "the last message lets the other rank go"
        return machine

    def _follow(self) -> None:
        try:
            run_worker(self.ranks[1], StopFlag())
        except ConfigError as error:
            self.failure.append(error)
            self._other_is_done.release()
            self._other_is_done.release()


def facts(context: Context) -> dict[str, Any]:
    """A stage computes from these."""
    names = ("node", "settings", "seed", "experiment", "inputs", "runtime", "document")
    return {
        **{name: getattr(context, name) for name in names},
        "sources": {name: (node.name, node.settings) for name, node in context.sources.items()},
        "draft": context.draft.path,
    }


def test_the_other_rank_runs_each_parallel_step_with_the_same_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(monkeypatch)
    machine = job.run(tmp_path)
    assert job.failure == []
    assert [context.node for context in job.seen[1]] == ["low", "high"], "numbers is made by rank 0 alone"
    for ours, other in zip(job.seen[0], job.seen[1], strict=True):
        assert facts(other) == facts(ours)
        assert other.document["settings"]["threshold"] == other.settings.threshold
        assert (other.world, other.quiet) == (job.ranks[1], True)
    assert machine.done["low"].artefact.names() == ["2.txt"], "only the result of rank 0 counts"
    assert machine.done["low"].artefact.provenance["processes"] == 2
    assert machine.done["numbers"].artefact.provenance["processes"] == 1


def test_a_setting_that_fails_on_the_other_rank_has_its_full_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(context: Context) -> None:
        raise SettingError("threshold", "is wrong here", "change it")

    job = Job(monkeypatch, then=refuse)
    job.run(tmp_path)
    assert [str(error) for error in job.failure] == ["label.threshold: is wrong here; change it"]


def test_a_stopped_rank_waits_no_longer() -> None:
    stop = StopFlag()
    stop.signum = 15
    with pytest.raises(Stopped):
        run_worker(ProcessGroup(1, 2, 1, 2, HashStore()), stop)
