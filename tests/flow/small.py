"""A pipeline of toy stages: the flow is tested without torch and without images."""

from __future__ import annotations

from pathlib import Path

from autolabel.config.schema import Experiment, FuseConfig, InferConfig, LabelConfig, RuntimeConfig
from autolabel.config.sources import SyntheticConfig
from autolabel.flow.graph import Pipeline
from autolabel.flow.runner import Runner
from autolabel.flow.stage import Context, Stage, StageResult
from autolabel.signals import StopFlag
from autolabel.store import Artefact, open_draft


def count_run(ctx: Context) -> None:
    ctx.draft.log_append("runs", "1")


def make_numbers(ctx: Context) -> StageResult:
    count_run(ctx)
    for i in range(ctx.settings.chunk):
        ctx.draft.write(f"{i}.txt", str(i).encode())
    return StageResult(meta={"count": ctx.settings.chunk})


def filter_numbers(ctx: Context) -> StageResult:
    """Keeps numbers above ten times the threshold."""
    count_run(ctx)
    kept = [name for name in ctx.inputs["numbers"].names() if int(name[:-4]) > 10 * ctx.settings.threshold]
    for name in kept:
        ctx.draft.write(name, ctx.inputs["numbers"].read(name))
    return StageResult(meta={})


def add_numbers(ctx: Context) -> StageResult:
    count_run(ctx)
    total = sum(int(artefact.read(name)) for artefact in ctx.group("parts").values() for name in artefact.names())
    ctx.draft.write("sum.txt", str(total).encode())
    return StageResult(meta={"total": total}, bad_items=0)


def idle_stage(name: str, output: str, **inputs: str) -> Stage:
    """A stage whose artefacts the test puts there."""

    def run(ctx: Context) -> StageResult:
        raise AssertionError("not run here")

    return Stage(name=name, version=1, output=output, inputs=inputs, run=run)


def made(folder: Path, **meta: object) -> Artefact:
    """An artefact with this meta and no files."""
    return open_draft(folder, "0" * 16).commit(meta=meta, provenance={})


NUMBERS = Stage(name="numbers", version=1, output="numbers", inputs={}, run=make_numbers)
FILTER = Stage(name="filter", version=1, output="numbers", inputs={"numbers": "numbers"}, run=filter_numbers)
SUM = Stage(name="sum", version=1, output="total", inputs={"parts.*": "numbers"}, run=add_numbers)

EXPERIMENT = Experiment(name="small", data=SyntheticConfig(source="synthetic"))


def build(*, count: int = 10, threshold: float = 0.5) -> Pipeline:
    p = Pipeline()
    numbers = p.add("numbers", NUMBERS, InferConfig(chunk=count))
    high = p.add("high", FILTER, LabelConfig(threshold=threshold), numbers=numbers)
    p.add("sum", SUM, FuseConfig(), parts={"all": numbers, "high": high})
    return p


def runner(work: Path) -> tuple[Runner, list[str]]:
    said: list[str] = []
    return Runner(EXPERIMENT, work, RuntimeConfig(), StopFlag(), said.append, quiet=True), said


def run(work: Path, pipeline: Pipeline) -> tuple[dict[str, str], set[str]]:
    """Digests by step, and the steps that did work."""
    machine, _ = runner(work)
    done = machine.run(pipeline, list(pipeline.nodes.values()))
    return {item.node.name: item.artefact.digest for item in done}, {i.node.name for i in done if not i.fresh}
