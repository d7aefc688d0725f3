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
    "92 fine": Cut(("fine184.txt", "coarse183.txt"), every=2),
}


@dataclass(frozen=True)
class Arm:
    """A network of a table; `sets` are changes to configs/camvid.toml."""

    title: str
    sets: tuple[str, ...] = ()
    step: str = "evaluate-teacher"
    cut: str = "56 fine"
    audits: bool = False  # its labels are compared with the hidden truth
    base: tuple[str, ...] = ()  # changes that all networks of its table share; () = as shipped

    def key(self, seed: int) -> str:
        """The identity of its result."""
        text = json.dumps([self.base, self.sets, self.step, self.cut, seed])
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


RARE = ("Pole", "SignSymbol", "Fence", "Pedestrian", "Bicyclist")  # their IoU is shown, too


AS_SHIPPED = (
    "`configs/camvid.toml`: the teacher trains 500 steps, students go on from its weights for 1000 and keep the best "
    "weights of five validations; labels and evaluation at scales 1, 1.5, 2 with flip. The validation frames choose "
    "these weights, so the students' mIoU is a little too good. The student of fine + coarse again shows how much the "
    "additional steps alone give."
)
# Other tables keep the last weights of every network.
LAST = ("student.validate_every=0", "student.keep_best=false")

# Shorter trainings, labels at smaller scales, and evaluation at scale 1 alone.
SHORT = (
    *LAST,
    "teacher.epochs=5",
    "student.epochs=3",
    "infer.scales=[0.75, 1.0, 1.5]",
    "evaluate.scales=[1.0]",
    "evaluate.flip=false",
)
# The recipe without the Lovász loss. Students train 500 steps from their teacher's weights, or from ImageNet's.
CROSS_ENTROPY = (*SHORT, "student.epochs=5", 'teacher.loss="ce"', 'student.loss="ce"', "label.threshold=0.5")
GO_ON = (*CROSS_ENTROPY, 'student.precision="bf16"')
FRESH = (*CROSS_ENTROPY, 'student.weights="imagenet"', "student.lr=3e-3", "student.class_weights=[1.0, 0.4]")

OFF, FILL = 'label.coarse="off"', 'label.coarse="fill"'
ONLY_FINE = 'teacher.labels=["fine"]'
THREE = "evaluate.scales=[0.5, 1.0, 2.0]"
HIERARCHICAL = 'teacher.model.fusion="hierarchical"'
STRONG = "student.strong={ colour = 0.5, grey = 0.2, blur = 0.5 }"


def student(title: str, *sets: str, audits: bool = True) -> Arm:
    return Arm(title, sets, "evaluate-student", audits=audits)


def changed(title: str, *texts: str) -> Arm:
    return Arm(title, tuple(f"teacher.{text}" for text in texts))


COARSE = Arm("fine + coarse (the teacher)")
FINE = Arm("fine", (ONLY_FINE,))
AGAIN = student("fine + coarse again", 'fuse.layers=["fine", "coarse"]', OFF, audits=False)
FILLED = student("fine + auto filled around coarse", FILL)
ONLINE = student(
    "fine + coarse, gaps labelled online",
    'fuse.layers=["fine", "coarse"]',
    OFF,
    STRONG,
    'student.method="weak_to_strong"',
    'student.online_pixels="unlabelled"',
    "student.online_threshold=0.9",
    audits=False,
)


def filled(threshold: float | str) -> Arm:
    text = f"{FILLED.title}, p > {threshold}"
    title = text if isinstance(threshold, float) else f"{FILLED.title}, threshold per class"
    return student(title, FILL, f"label.threshold={json.dumps(threshold)}")


def table(
    heading: str, text: str, arms: tuple[Arm, ...], base: tuple[str, ...], cut: str = "56 fine", against: int | None = 0
) -> Table:
    """A table of networks that share the changes `base`; `against` is the place of the one to compare with."""
    arms = tuple(replace(arm, base=base, cut=cut if arm.cut == Arm.cut else arm.cut) for arm in arms)
    return Table(heading, text, arms, None if against is None else arms[against].title)


def going_on(cut: str) -> Table:
    return table(
        f"Students that start from their teacher's weights, {cut}, with coarse labels",
        "Cross-entropy alone. The second row, trained on the teacher's own labels, shows how much the additional steps "
        "alone give. Students train in bf16.",
        (COARSE, AGAIN, filled(0.5), filled(0.9)),
        GO_ON,
        cut,
    )


def shipped(cut: str) -> Table:
    return table(
        f"As shipped, {cut}",
        f"{AS_SHIPPED} The last student keeps coarse labels and labels their gaps itself (weak-to-strong, p > 0.9, "
        "strong changes).",
        (COARSE, FILLED, AGAIN, ONLINE),
        (),
        cut,
    )


TABLES = {
    "shipped": shipped("56 fine"),
    "shipped-184": shipped("184 fine"),
    "recordings": table(
        "Without the recording of the validation frames",
        f"Teacher and student see no frame of recording 0016E5, of which all validation frames are. {AS_SHIPPED}",
        (COARSE, FILLED, AGAIN),
        (),
        "other recordings",
    ),
    "thresholds": table(
        "The threshold",
        "Teachers and codes are those of `configs/camvid.toml`. Students train 300 steps from their teacher's weights, "
        "on labels filled around coarse ones. Evaluation at scale 1. All differences are to the teacher.",
        (COARSE, *(filled(threshold) for threshold in (0.0, 0.5, 0.7, 0.9, "quantile"))),
        (*LAST, "student.epochs=3", "evaluate.scales=[1.0]", "evaluate.flip=false"),
    ),
    "images": table(
        "The number of fine images",
        "No coarse labels: the other frames have none. Teachers train 500 steps on the fine images, students 300 more "
        "from their teacher's weights, on the same labels or with auto labels, p > 0.63.",
        tuple(
            replace(arm, cut=cut, title=f"{cut}: {arm.title}")
            for cut in ("14 fine", "28 fine", "56 fine", "92 fine", "184 fine")
            for arm in (
                Arm("the teacher", (ONLY_FINE,)),
                student("fine again", ONLY_FINE, 'fuse.layers=["fine"]', OFF, audits=False),
                student("fine + auto", ONLY_FINE, OFF),
            )
        ),
        SHORT,
        against=None,
    ),
    "methods": table(
        "Offline and online labels",
        "Students of one budget, from their teacher's weights: labels of the teacher, a second round of them, and "
        "weak-to-strong.",
        (
            filled(0.9),
            student("the same, with strong changes", FILL, "label.threshold=0.9", STRONG),
            replace(
                student("the same, a second round", FILL, "label.threshold=0.9", "rounds=2", audits=False),
                step="evaluate-student-2",
            ),
            student(
                "weak-to-strong", STRONG, 'student.method="weak_to_strong"', 'student.loss_over="all"', audits=False
            ),
            ONLINE,
        ),
        SHORT,
    ),
    "recipe": table(
        "The recipe, one change at a time",
        "The teacher on fine + coarse labels, 500 steps.",
        (
            COARSE,
            changed("cross-entropy alone", 'loss="ce"'),
            changed("RMI loss, no class weights", 'loss="rmi"', "class_weights=[0.0, 0.0]"),
            changed("random weights", 'weights="random"', "freeze.stride=0", "freeze.norms=false", "trunk_lr=1.0"),
            changed("nothing frozen", "freeze.stride=0", "freeze.norms=false", "freeze.depthwise=false"),
            changed("no class weights", "class_weights=[0.0, 0.0]"),
            changed("constant class weights, power 0.5", "class_weights=[0.5, 0.5]"),
            changed("no averaged weights", "ema=0.0"),
            changed("no class-uniform crops", "class_uniform=0.0"),
            changed("all images drawn alike", "fine_share=0.15"),
            changed("scale 0.5 to 2", "augment.scale=[0.5, 2.0]"),
            changed("crops of 288 x 384", "crop=[288, 384]"),
            changed("decoder of 48 instead of 96 channels", "model.key_channels=48"),
            changed("DeepLabV3+ decoder", 'model.head="deeplabv3plus"'),
            changed("bf16", 'precision="bf16"'),
            changed("two fifths of the steps", "epochs=2"),
            changed("twice the steps", "epochs=10"),
            changed("four times the steps", "epochs=20"),
        ),
        SHORT,
    ),
    "going-on": going_on("56 fine"),
    "going-on-184": going_on("184 fine"),
    "going-on-fine": table(
        "Students that start from their teacher's weights, without coarse labels",
        "Cross-entropy alone. The teacher learnt from 56 fine masks; 311 images have no label. Students train in bf16.",
        (
            FINE,
            student("fine again", ONLY_FINE, 'fuse.layers=["fine"]', OFF, audits=False),
            student("fine + auto, p > 0.5", ONLY_FINE, OFF),
        ),
        GO_ON,
    ),
    "students": table(
        "Students, 56 fine",
        "Table 4 of the method, with cross-entropy alone. Each seed has its own teacher, and all networks begin with "
        "ImageNet weights and train 500 steps.",
        (
            COARSE,
            filled(0.5),
            filled("quantile"),
            Arm("fine + true labels (upper bound)", ('data.fine="all.txt"', 'data.coarse="none.txt"', ONLY_FINE)),
            FINE,
            student(
                "fine + auto of a teacher of fine alone, threshold per class",
                ONLY_FINE,
                OFF,
                'label.threshold="quantile"',
            ),
            student("fine + auto, p > 0.5", OFF),
            Arm("the teacher at three scales, with flip", ("evaluate.scales=[0.75, 1.0, 1.5]", "evaluate.flip=true")),
        ),
        FRESH,
    ),
    "fusions": table(
        "Ways to fuse scales",
        "Table 3 of the method, from ImageNet weights, with cross-entropy alone. Without flip.",
        (
            Arm("single scale"),
            Arm("average of three", (THREE,)),
            Arm("hierarchical, three", (HIERARCHICAL, THREE)),
            Arm("hierarchical, four", (HIERARCHICAL, "evaluate.scales=[0.25, 0.5, 1.0, 2.0]")),
            Arm("explicit, three", ('teacher.model.fusion="explicit"', THREE)),
        ),
        CROSS_ENTROPY,
        against=1,
    ),
}

# Those that run by default: about eight CPU hours with three seeds. The others run when they are named.
MAIN = ("shipped", "recordings", "thresholds", "images")
