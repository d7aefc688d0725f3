"""The whole way: a teacher labels the images that have no fine label, a student learns from fine and auto labels."""

from autolabel import stages
from autolabel.config import Experiment, Table
from autolabel.flow.graph import Pipeline


def build(experiment: Experiment) -> Pipeline:
    """data -> manifest -> teacher -> infer -> label -> audit -> fuse -> student -> evaluate -> report."""
    p, exp = Pipeline(), experiment
    data = p.add("manifest", stages.MANIFEST, exp.data)
    teacher = p.add("teacher", stages.TEACHER, exp.teacher, seed=exp.seed, data=data)
    codes = p.add("infer", stages.INFER, exp.infer, data=data, model=teacher)
    labels = p.add("label", stages.LABEL, exp.label, data=data, codes=codes)
    audit = p.add("audit", stages.AUDIT, Table(), data=data, model=teacher, codes=codes, labels=labels)
    # A student that reads no auto labels must not be trained again when they change.
    auto = {"labels": labels} if "auto" in exp.fuse.layers else {}
    fused = p.add("fuse", stages.FUSE, exp.fuse, data=data, **auto)
    student = p.add("student", stages.STUDENT, exp.student, seed=exp.seed, data=data, fused=fused, **auto)
    evaluations = {
        "teacher": p.add("evaluate-teacher", stages.EVALUATE, exp.evaluate, data=data, model=teacher),
        "student": p.add("evaluate-student", stages.EVALUATE, exp.evaluate, data=data, model=student),
    }
    p.headline = evaluations["student"]
    p.add(
        "report",
        stages.REPORT,
        exp.report,
        data=data,
        model=teacher,
        codes=codes,
        labels=labels,
        audit=audit,
        evaluations=evaluations,
    )
    return p
