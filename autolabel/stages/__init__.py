"""One file a stage: a declaration that imports nothing heavy, and `run`, which imports its tools when called."""

from autolabel.stages.audit import AUDIT
from autolabel.stages.compare import COMPARE
from autolabel.stages.evaluate import EVALUATE
from autolabel.stages.fuse import FUSE
from autolabel.stages.infer import INFER
from autolabel.stages.label import LABEL
from autolabel.stages.manifest import MANIFEST
from autolabel.stages.report import REPORT
from autolabel.stages.table import TABLE
from autolabel.stages.train import STUDENT, TEACHER

__all__ = [
    "AUDIT",
    "COMPARE",
    "EVALUATE",
    "FUSE",
    "INFER",
    "LABEL",
    "MANIFEST",
    "REPORT",
    "STUDENT",
    "TABLE",
    "TEACHER",
]
