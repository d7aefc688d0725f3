"""Table 4 of the method: one teacher, one seed, students that differ only in the labels they learn from."""

from autolabel import stages
from autolabel.config.base import Config
from autolabel.config.networks import TEACHER_WEIGHTS
from autolabel.config.schema import Experiment, FuseConfig
from autolabel.errors import ConfigError
from autolabel.flow.graph import Pipeline


def build(experiment: Experiment) -> Pipeline:
    """Like teacher_student, with students of fine, fine + coarse, fine + auto, and fine + auto filled around coarse."""
    p, exp = Pipeline(), experiment
    if exp.fuse.corrections is not None:
        raise ConfigError("fuse.corrections", "the ablation compares label layers as they are", "remove it")
    data = p.add("manifest", stages.MANIFEST, exp.data)
    teacher = p.add("teacher", stages.TEACHER, exp.teacher, seed=exp.seed, data=data)
    codes = p.add("infer", stages.INFER, exp.infer, data=data, model=teacher)
    plain = exp.label.model_copy(update={"coarse": "off"})
    labels = p.add("label", stages.LABEL, plain, data=data, codes=codes)
    audit = p.add("audit", stages.AUDIT, Config(), data=data, model=teacher, codes=codes, labels=labels)

    # Only students of auto labels read the label set: another threshold must not retrain the others.
    sets = {"fine-auto": (("fine", "auto"), {"labels": labels}), "fine": (("fine",), {})}
    if has_coarse(experiment):
        filling = exp.label.model_copy(update={"coarse": "fill"})
        filled = p.add("label-filled", stages.LABEL, filling, data=data, codes=codes)
        p.add("audit-filled", stages.AUDIT, Config(), data=data, model=teacher, codes=codes, labels=filled)
        # First, because the others are compared with it.
        sets = {
            "fine-coarse": (("fine", "coarse"), {}),
            **sets,
            "fine-auto-filled": (("fine", "auto"), {"labels": filled}),
        }

    initial = {"initial": teacher} if exp.student.weights == TEACHER_WEIGHTS else {}
    models, fused_sets = {"teacher": teacher}, {}
    evaluations = {"teacher": p.add("evaluate-teacher", stages.EVALUATE, exp.evaluate, data=data, model=teacher)}
    for name, (layers, auto) in sets.items():
        fused = p.add(f"fuse-{name}", stages.FUSE, FuseConfig(layers=layers), data=data, **auto)
        inputs = {"data": data, "fused": fused, **auto, **initial}
        student = p.add(f"student-{name}", stages.STUDENT, exp.student, seed=exp.seed, **inputs)
        models[name], fused_sets[name] = student, fused
        evaluations[name] = p.add(f"evaluate-{name}", stages.EVALUATE, exp.evaluate, data=data, model=student)
    p.headline = evaluations["fine-auto"]
    p.add(
        "report",
        stages.REPORT,
        exp.report,
        data=data,
        model=teacher,
        codes=codes,
        labels=labels,
        audit=audit,
        fused=fused_sets,
        models=models,
        evaluations=evaluations,
    )
    return p


def has_coarse(experiment: Experiment) -> bool:
    """True if the source can have coarse labels; Mapillary Vistas has none."""
    data = experiment.data
    if data.source == "folder":
        return (data.root / data.coarse).is_dir()
    return data.source != "mapillary"
