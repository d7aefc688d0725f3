"""The tables of the proof: which networks are trained, on which labels, and which differences are reported."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Cut:
    """A division of CamVid's training frames into finely and coarsely labelled ones."""

    files: tuple[str, str] = ("fine.txt", "coarse.txt")
    without: str = ""  # a recording that is left out
    every: int = 1  # only every so many fine images

    def keeps(self, name: str) -> bool:
        return not self.without or not name.startswith(self.without)


CUTS = {
    "56 fine": Cut(),
    "184 fine": Cut(("fine184.txt", "coarse183.txt")),
    # val is one recording, 0016E5: without it no frame beside a validation frame is trained on.
    "other recordings": Cut(without="0016E5"),
    "14 fine": Cut(every=4),
    "28 fine": Cut(every=2),
}


@dataclass(frozen=True)
class Arm:
    """A network of a table; `sets` are changes to configs/camvid.toml."""

    title: str
    sets: tuple[str, ...] = ()
    step: str = "evaluate-teacher"
    cut: str = "56 fine"
    audits: bool = False  # its labels are compared with the hidden truth
    shipped: bool = False  # trained and evaluated as the file says, not as short as the other networks

    def key(self, seed: int) -> str:
        """The identity of its result."""
        text = json.dumps([self.sets, self.step, self.cut, self.shipped, seed])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Result:
    seed: int
    miou: float
    iou: dict[str, float | None]
    audit: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Table:
    heading: str
    text: str
    arms: tuple[Arm, ...]
    against: str | None = None  # title of the arm that all others are compared with, seed by seed
    classes: tuple[str, ...] = ()  # IoU of these classes is shown, too


RARE = ("Pole", "SignSymbol", "Fence", "Pedestrian", "Bicyclist")


# Networks train 500 steps, students from ImageNet weights, and are evaluated at scale 1 alone, unless their table says
# otherwise or they are trained as the file says (`shipped`). Teachers label at three scales, with flip.
LIGHT = (
    "teacher.epochs=5",
    'student.weights="imagenet"',
    "student.lr=3e-3",
    "student.class_weights=[1.0, 0.4]",
    "infer.scales=[0.75, 1.0, 1.5]",
    "label.threshold=0.5",
    'label.coarse="off"',
    "evaluate.scales=[1.0]",
    "evaluate.flip=false",
)

COARSE = Arm("fine + coarse (the teacher)")
FINE = Arm("fine", ('teacher.labels=["fine"]',))
AUTO = Arm("fine + auto, p > 0.5", ('label.coarse="off"',), "evaluate-student", audits=True)
FILLED = Arm("fine + auto filled around coarse, p > 0.5", ('label.coarse="fill"',), "evaluate-student", audits=True)
QUANTILE = Arm(
    "fine + auto filled around coarse, threshold per class",
    ('label.coarse="fill"', 'label.threshold="quantile"'),
    "evaluate-student",
    audits=True,
)
UNLABELLED = Arm(
    "fine + auto of a teacher of fine alone, threshold per class",
    ('teacher.labels=["fine"]', 'label.coarse="off"', 'label.threshold="quantile"'),
    "evaluate-student",
    audits=True,
)
TRUE = Arm(
    "fine + true labels (upper bound)", ('data.fine="all.txt"', 'data.coarse="none.txt"', 'teacher.labels=["fine"]')
)
LABELLER = Arm("the teacher at three scales, with flip", ("evaluate.scales=[0.75, 1.0, 1.5]", "evaluate.flip=true"))
# A student that goes on from its teacher's weights sees twice the steps; so does one that learns no auto labels.
GO_ON = (
    'student.weights="teacher"',
    "student.lr=1.5e-3",
    "student.class_weights=[0.5, 0.2]",
    'student.precision="bf16"',
)
OFF = 'label.coarse="off"'


def going_on(title: str, *sets: str, audits: bool = False) -> Arm:
    return Arm(title, (*GO_ON, *sets), "evaluate-student", audits=audits)


STUDENTS = (COARSE, FILLED, QUANTILE, TRUE, FINE, UNLABELLED, AUTO, LABELLER)

STRONG = "student.strong={ colour = 0.5, grey = 0.2, blur = 0.5 }"
HIERARCHICAL = 'teacher.model.fusion="hierarchical"'
THREE = "evaluate.scales=[0.5, 1.0, 2.0]"


def table4(cut: str) -> Table:
    return Table(
        heading=f"Students, {cut}",
        text="Table 4 of the method. Each seed has its own teacher, and all networks the same number of steps.",
        arms=tuple(replace(arm, cut=cut) for arm in STUDENTS),
        against=COARSE.title,
        classes=RARE,
    )


AGAIN = going_on("fine + coarse again", 'fuse.layers=["fine", "coarse"]', OFF)
FILL = 'label.coarse="fill"'
GO_ON_FILLED = going_on("fine + auto filled around coarse, p > 0.5", FILL, audits=True)
GO_ON_SURE = going_on("fine + auto filled around coarse, p > 0.9", FILL, "label.threshold=0.9", audits=True)


def going_on_table(cut: str) -> Table:
    return Table(
        heading=f"Students that start from their teacher's weights, {cut}, with coarse labels",
        text="The second row, trained on the teacher's own labels, shows how much the additional steps alone give. "
        "Students train in bf16.",
        arms=tuple(replace(arm, cut=cut) for arm in (COARSE, AGAIN, GO_ON_FILLED, GO_ON_SURE)),
        against=COARSE.title,
        classes=RARE,
    )


def changed(title: str, *texts: str) -> Arm:
    return Arm(title, tuple(f"teacher.{text}" for text in texts))


def shipped_table(cut: str) -> Table:
    arms = (
        Arm("the teacher: fine + coarse, 1000 steps"),
        Arm("the same labels again", ('fuse.layers=["fine", "coarse"]', OFF), "evaluate-student"),
        Arm("fine + auto", (OFF,), "evaluate-student", audits=True),
        Arm("fine + auto filled around coarse", (FILL,), "evaluate-student", audits=True),
    )
    return Table(
        heading=f"As shipped, {cut}",
        text="`configs/camvid.toml`: students go on from their teacher's weights for 500 steps; labels and evaluation "
        "at scales 1, 1.5, 2 with flip, p > 0.63.",
        arms=tuple(replace(arm, cut=cut, shipped=True) for arm in arms),
        against=arms[0].title,
        classes=RARE,
    )


TABLES = {
    "shipped": shipped_table("56 fine"),
    "shipped-184": shipped_table("184 fine"),
    "students": table4("56 fine"),
    "students184": table4("184 fine"),
    "recordings": table4("other recordings"),
    "going-on": going_on_table("56 fine"),
    "going-on-184": going_on_table("184 fine"),
    "going-on-recordings": going_on_table("other recordings"),
    "going-on-fine": Table(
        heading="Students that start from their teacher's weights, without coarse labels",
        text="The teacher learnt from 56 fine masks; 311 images have no label. Students train in bf16.",
        arms=(
            FINE,
            going_on("fine again", FINE.sets[0], 'fuse.layers=["fine"]', OFF),
            going_on("fine + auto, p > 0.5", FINE.sets[0], OFF, audits=True),
        ),
        against=FINE.title,
        classes=RARE,
    ),
    "fusions": Table(
        heading="Ways to fuse scales",
        text="Table 3 of the method, from ImageNet weights. Without flip.",
        arms=(
            Arm("single scale"),
            Arm("average of three", (THREE,)),
            Arm("hierarchical, three", (HIERARCHICAL, THREE)),
            Arm("hierarchical, four", (HIERARCHICAL, "evaluate.scales=[0.25, 0.5, 1.0, 2.0]")),
            Arm("explicit, three", ('teacher.model.fusion="explicit"', THREE)),
        ),
        against="average of three",
    ),
    "recipe": Table(
        heading="The recipe, one change at a time",
        text="The teacher on fine + coarse labels.",
        arms=(
            COARSE,
            changed("random weights", 'weights="random"', "freeze.stride=0", "freeze.norms=false", "trunk_lr=1.0"),
            changed("nothing frozen", "freeze.stride=0", "freeze.norms=false", "freeze.depthwise=false"),
            changed("no class weights", "class_weights=[0.0, 0.0]"),
            changed("constant class weights, power 0.5", "class_weights=[0.5, 0.5]"),
            changed("no averaged weights", "ema=0.0"),
            changed("no class-uniform crops", "class_uniform=0.0"),
            changed("all images drawn alike", "fine_share=0.15"),
            changed("scale 0.5 to 2", "augment.scale=[0.5, 2.0]"),
            changed("RMI loss", 'loss="rmi"', "class_weights=[0.0, 0.0]"),
            changed("bf16", 'precision="bf16"'),
            changed("twice the steps", "epochs=10"),
            changed("two fifths of the steps", "epochs=2"),
        ),
        against=COARSE.title,
        classes=RARE,
    ),
    "thresholds": Table(
        heading="The threshold",
        text="Students of fine + auto labels filled around coarse, from their teacher's weights.",
        arms=(
            going_on("p > 0, every pixel", FILL, "label.threshold=0.0", audits=True),
            replace(GO_ON_FILLED, title="p > 0.5"),
            going_on("p > 0.7", FILL, "label.threshold=0.7", audits=True),
            replace(GO_ON_SURE, title="p > 0.9"),
            going_on("per class, by the teacher's confidence", FILL, 'label.threshold="quantile"', audits=True),
        ),
        against="p > 0.5",
        classes=RARE,
    ),
    "methods": Table(
        heading="Offline and online labels",
        text="Students of one budget, from their teacher's weights: labels of the teacher, a second round of them, and "
        "weak-to-strong.",
        arms=(
            GO_ON_FILLED,
            going_on("filled, with strong changes", FILL, STRONG),
            replace(going_on("filled, a second round", FILL, "rounds=2"), step="evaluate-student-2"),
            going_on("weak-to-strong", STRONG, 'student.method="weak_to_strong"', 'student.loss_over="all"'),
        ),
        against=GO_ON_FILLED.title,
        classes=RARE,
    ),
    "images": Table(
        heading="The number of fine images",
        text="With and without auto labels, at equal steps; the rest of the 367 frames has coarse labels.",
        arms=tuple(
            replace(arm, cut=cut, title=f"{cut}: {arm.title}", audits=False)
            for cut in ("14 fine", "28 fine", "56 fine", "184 fine")
            for arm in (COARSE, AGAIN, GO_ON_SURE)
        ),
    ),
}
