"""The whole method: a teacher labels the images without a fine label, and a student learns from fine and auto labels.

With `rounds` above 1 the student is the teacher of the next round.
"""

from itertools import pairwise
from typing import NamedTuple

from autolabel import stages
from autolabel.config.base import Config
from autolabel.config.networks import TEACHER_WEIGHTS
from autolabel.config.schema import Experiment
from autolabel.errors import ConfigError
from autolabel.flow.graph import Node, Pipeline


class Round(NamedTuple):
    """The teacher of a round and the steps that it makes."""

    teacher: Node
    codes: Node
    labels: Node
    audit: Node
    student: Node


def build(experiment: Experiment) -> Pipeline:
    """data -> manifest -> teacher -> (infer -> label -> audit -> fuse -> student) a round -> evaluate -> report."""
    p, exp = Pipeline(), experiment
    if exp.rounds > 1 and "auto" not in exp.fuse.layers:
        raise ConfigError(
            "rounds", "fuse.layers has no auto labels: every round would train the same student", "add it"
        )
    data = p.add("manifest", stages.MANIFEST, exp.data)
    teacher = p.add("teacher", stages.TEACHER, exp.teacher, seed=exp.seed, data=data)
    rounds: list[Round] = []
    for number in range(1, exp.rounds + 1):
        rounds.append(add_round(p, exp, number, data=data, teacher=rounds[-1].student if rounds else teacher))
    evaluations = {
        model.name: p.add(f"evaluate-{model.name}", stages.EVALUATE, exp.evaluate, data=data, model=model)
        for model in (teacher, *(each.student for each in rounds))
    }
    last = rounds[-1]
    p.headline = evaluations[last.student.name]
    p.add(
        "report",
        stages.REPORT,
        exp.report,
        data=data,
        model=last.teacher,
        codes=last.codes,
        labels=last.labels,
        audit=last.audit,
        fused={each.student.name: each.student.inputs["fused"] for each in rounds},
        models={model.name: model for model in (teacher, *(each.student for each in rounds))},
        evaluations=evaluations,
        comparisons=add_comparisons(p, rounds, data=data),
    )
    return p


def add_round(p: Pipeline, exp: Experiment, number: int, *, data: Node, teacher: Node) -> Round:
    """The steps of the first round have the names of their stages; those of round 2 end in -2."""
    end = "" if number == 1 else f"-{number}"
    codes = p.add(f"infer{end}", stages.INFER, exp.infer, data=data, model=teacher)
    labels = p.add(f"label{end}", stages.LABEL, exp.label, data=data, codes=codes)
    audit = p.add(f"audit{end}", stages.AUDIT, Config(), data=data, model=teacher, codes=codes, labels=labels)
    # A student that reads no auto labels must not be trained again when they change.
    auto = {"labels": labels} if "auto" in exp.fuse.layers else {}
    fused = p.add(f"fuse{end}", stages.FUSE, exp.fuse, data=data, **auto)
    initial = {"initial": teacher} if exp.student.weights == TEACHER_WEIGHTS else {}
    inputs = {"data": data, "fused": fused, **auto, **initial}
    student = p.add(f"student{end}", stages.STUDENT, exp.student, seed=exp.seed, **inputs)
    return Round(teacher, codes, labels, audit, student)


def add_comparisons(p: Pipeline, rounds: list[Round], *, data: Node) -> dict[str, Node]:
    """Compare the labels of each round with those of the round before."""
    return {
        str(number): p.add(
            f"compare-{number}",
            stages.COMPARE,
            Config(),
            data=data,
            before=before.labels,
            after=after.labels,
            before_audit=before.audit,
            after_audit=after.audit,
        )
        for number, (before, after) in enumerate(pairwise(rounds), start=2)
    }
