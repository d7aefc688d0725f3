"""Fields say what a thing is; its name may say otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from autolabel import stages
from autolabel.artifacts import EVALUATION_FILE
from autolabel.cli.launch import _failure
from autolabel.config.networks import StudentConfig, TeacherConfig
from autolabel.config.schema import EvaluateConfig, Experiment, ReportConfig, RuntimeConfig
from autolabel.config.sources import SyntheticConfig
from autolabel.evaluation.iou import evaluation_result
from autolabel.flow.graph import Node, Pipeline
from autolabel.flow.stage import Context, Stage, input_group
from autolabel.flow.summary import summarise
from autolabel.signals import StopFlag
from autolabel.stages.report import _scores
from autolabel.store import Artefact, open_draft


def evaluation(folder: Path, number: int) -> Artefact:
    draft = open_draft(folder, f"{number:064x}")
    EVALUATION_FILE.write(draft, evaluation_result(np.eye(2, 3, dtype=np.int64), ("a", "b")))
    intervals = {"miou": [number / 20, 1.0], "accuracy": None, "over": "images", "units": 30}
    meta = {"miou": number / 10, "images": 30, "intervals": intervals, "trained_on": "fine"}
    return draft.commit(meta=meta, provenance={})


def misnamed(folder: Path) -> tuple[Pipeline, dict[str, Artefact]]:
    """A teacher whose step and title say student, and two students, one with a teacher's."""
    p, settings = Pipeline(), EvaluateConfig()
    data = p.add("manifest", stages.MANIFEST, SyntheticConfig(source="synthetic"))
    models: dict[str, Node] = {"student": p.add("student-1", stages.TEACHER, TeacherConfig(), data=data)}
    fused = Node("fuse", stages.FUSE, settings, 0, {})
    p.nodes["fuse"] = fused
    for title, name in (("teacher", "teacher"), ("other", "student-2")):
        models[title] = p.add(name, stages.STUDENT, StudentConfig(), data=data, fused=fused)
    nodes = {
        title: p.add(f"e{number}", stages.EVALUATE, settings, data=data, model=model)
        for number, (title, model) in enumerate(models.items())
    }
    p.nodes["report"] = Node(
        "report", stages.REPORT, ReportConfig(), 0, {f"evaluations.{k}": n for k, n in nodes.items()}
    )
    return p, {node.name: evaluation(folder / node.name, number) for number, node in enumerate(nodes.values())}


def test_the_report_tells_teachers_from_students_by_their_stage(tmp_path: Path) -> None:
    p, artefacts = misnamed(tmp_path)
    sources = p.nodes["report"].inputs
    context = Context(
        node="report",
        settings=ReportConfig(),
        seed=0,
        experiment=Experiment(name="x", data=SyntheticConfig(source="synthetic")),
        inputs={name: artefacts[node.name] for name, node in sources.items()},
        sources=sources,
        draft=open_draft(tmp_path / "report", "0" * 64),
        runtime=RuntimeConfig(),
        stop=StopFlag(),
        quiet=True,
    )
    roles = {score.name: score.role for score in _scores(context)}
    assert roles == {"student": "teacher", "teacher": "student", "other": "student"}


def test_the_summary_calls_students_what_the_report_calls_them(tmp_path: Path) -> None:
    assert summarise(*misnamed(tmp_path)) == {
        "teacher_miou": 0.0,
        "teacher_interval": [0.0, 1.0],
        "students": {"teacher": 0.1, "other": 0.2},
        "student_intervals": {"teacher": [0.05, 1.0], "other": [0.1, 1.0]},
    }


def test_groups_of_inputs() -> None:
    inputs = {"models.a": 1, "models.b.c": 2, "models": 3, "models2.a": 4}
    assert input_group(inputs, "models") == {"a": 1, "b.c": 2}


@pytest.mark.parametrize(
    ("stage", "remedy"),
    [
        (stages.TEACHER, "run the same command again to go on, with a smaller runtime.micro_batch if memory ran out"),
        (stages.INFER, "run the same command again to go on, with a smaller runtime.infer_batch if memory ran out"),
        (stages.EVALUATE, "run the same command again to go on"),  # one image at a time: no setting makes it less
    ],
)
def test_a_killed_process_is_blamed_on_the_setting_of_its_stage(stage: Stage, remedy: str) -> None:
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=-9, error_file="/dev/null")
    error = _failure(ChildFailedError("x", {0: failure}), "infer-by-name-only", stage.memory_setting)
    assert str(error).endswith(remedy)
