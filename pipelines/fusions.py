"""Table 3 of the method: ways to fuse scales, on one network, one budget and one seed."""

from autolabel import stages
from autolabel.config.schema import Experiment
from autolabel.flow.graph import Pipeline
from autolabel.stages.table import Row, Rows

THREE, FOUR = (0.5, 1.0, 2.0), (0.25, 0.5, 1.0, 2.0)

# evaluation -> (title, fusion it is trained with, scales it is evaluated at); the baselines share a training, and so
# do the hierarchical ones
ROWS = {
    "single": ("Baseline single scale", "single", (1.0,)),
    "average": ("Baseline average", "single", THREE),
    "explicit": ("Explicit", "explicit", THREE),
    "hierarchical": ("Hierarchical", "hierarchical", THREE),
    "hierarchical-four": ("Hierarchical", "hierarchical", FOUR),
}


def build(experiment: Experiment) -> Pipeline:
    """The `teacher` table holds the training of every network except its fusion, `evaluate` all except the scales.

    `teacher.model.softmax` applies to explicit fusion only.
    """
    p, exp = Pipeline(), experiment
    data = p.add("manifest", stages.MANIFEST, exp.data)
    models = {}
    for fusion in ("single", "explicit", "hierarchical"):
        softmax = exp.teacher.model.softmax and fusion == "explicit"
        model = exp.teacher.model.model_copy(update={"fusion": fusion, "softmax": softmax})
        training = exp.teacher.model_copy(update={"model": model})
        models[fusion] = p.add(f"teacher-{fusion}", stages.TEACHER, training, seed=exp.seed, data=data)
    evaluations = {}
    for name, (_, fusion, scales) in ROWS.items():
        settings = exp.evaluate.model_copy(update={"scales": scales})
        evaluations[name] = p.add(f"evaluate-{name}", stages.EVALUATE, settings, data=data, model=models[fusion])
    p.headline = evaluations["hierarchical-four"]
    rows = tuple(
        Row(title=title, model=fusion, evaluation=name, eval_scales=scales)
        for name, (title, fusion, scales) in ROWS.items()
    )
    p.add("table", stages.TABLE, Rows(rows=rows, crop=exp.teacher.crop), models=models, evaluations=evaluations)
    return p
