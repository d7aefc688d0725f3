"""Teacher-student auto-labelling for semantic segmentation.

The public Python interface is what `__all__` names here (docs/python.md). All other modules are private.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autolabel import errors
    from autolabel.api.codes import CodeItem, Codes
    from autolabel.api.experiment import Experiment
    from autolabel.api.label_set import LabelItem, LabelSet
    from autolabel.api.predictor import Prediction, Predictor, load
    from autolabel.api.run import RunResult, run
    from autolabel.labels.codebook import Codebook

__version__ = "0.1.0"

_MODULES = {  # imported on first use: `import autolabel` itself is cheap
    "errors": "autolabel.errors",
    "CodeItem": "autolabel.api.codes",
    "Codebook": "autolabel.labels.codebook",
    "Codes": "autolabel.api.codes",
    "Experiment": "autolabel.api.experiment",
    "LabelItem": "autolabel.api.label_set",
    "LabelSet": "autolabel.api.label_set",
    "Prediction": "autolabel.api.predictor",
    "Predictor": "autolabel.api.predictor",
    "load": "autolabel.api.predictor",
    "RunResult": "autolabel.api.run",
    "run": "autolabel.api.run",
}

__all__ = [
    "CodeItem",
    "Codebook",
    "Codes",
    "Experiment",
    "LabelItem",
    "LabelSet",
    "Prediction",
    "Predictor",
    "RunResult",
    "__version__",
    "errors",
    "load",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_MODULES[name])
    return module if _MODULES[name] == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
