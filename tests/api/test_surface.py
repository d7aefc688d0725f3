"""The public Python interface: names and signatures stay as they are, and importing it costs nothing."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import typing

import pytest

import autolabel

PUBLIC = {
    "CodeItem": ["image: str", "codes: NDArray[np.unsignedinteger]"],
    "Codebook": ["(num_classes: int, edges: Sequence[float] | None = None, *, second_below: float = 0.0) -> None"],
    "Codes": ["(path: str | os.PathLike[str]) -> None"],
    "Experiment": ["(**settings: Any) -> None"],
    "LabelItem": ["image: str", "labels: NDArray[np.uint8]"],
    "LabelSet": ["(path: str | os.PathLike[str]) -> None"],
    "Prediction": [
        "image: NDArray[np.uint8]",
        "labels: NDArray[np.uint8]",
        "codes: NDArray[np.unsignedinteger]",
        "codebook: Codebook",
        "classes: ClassSet",
    ],
    "Predictor": ["(inference: Inference, classes: ClassSet, source: str) -> None"],
    "RunResult": [
        "work: Path",
        "artefacts: Mapping[str, Path]",
        "made: tuple[str, ...]",
        "bad_items: Mapping[str, int]",
        "summary: Mapping[str, Any]",
    ],
    "__version__": [],
    "errors": [],
    "load": [
        "(source: str | os.PathLike[str], *, scales: Sequence[float] = (0.5, 1.0, 2.0), flip: bool = False,"
        " threshold: float = 0.0, device: str = 'auto', precision: str = 'fp32') -> Predictor"
    ],
    "run": [
        "(experiment: Experiment | str | os.PathLike[str], *, until: str | None = None,"
        " work: str | os.PathLike[str] | None = None, device: str | None = None, jobs: int | None = None,"
        " allow_other_environment: bool = False, restart_other_environment: bool = False) -> RunResult"
    ],
}
MEMBERS = {
    "Codes": {
        "__getitem__": "(self, index: int) -> CodeItem",
        "__len__": "(self) -> int",
        "class_names": "tuple[str, ...]",
        "codebook": "Codebook",
        "cut": "(self, out: str | os.PathLike[str], *, threshold: float = 0.5,"
        " class_thresholds: Mapping[str, float] | None = None) -> LabelSet",
        "images": "tuple[str, ...]",
        "labels": "(self, index: int, threshold: float = 0.5,"
        " class_thresholds: Mapping[str, float] | None = None) -> NDArray[np.uint8]",
    },
    "Experiment": {
        "from_file": "(path: str | os.PathLike[str]) -> Self",
        "from_source": "(source: str, root: str | os.PathLike[str], *, name: str | None = None,"
        " minutes: float | None = None, weights: str = 'imagenet',"
        " settings: Mapping[str, Any] | None = None) -> Self",
        "with_settings": "(self, settings: Mapping[str, Any]) -> Self",
    },
    "LabelSet": {
        "__getitem__": "(self, index: int) -> LabelItem",
        "__len__": "(self) -> int",
        "classes": "ClassSet",
        "codes": "(self) -> Codes",
        "image_path": "(self, index: int) -> Path",
        "images": "tuple[str, ...]",
        "label_path": "(self, index: int) -> Path",
        "recut": "(self, out: str | os.PathLike[str], *, threshold: float = 0.5,"
        " class_thresholds: Mapping[str, float] | None = None) -> LabelSet",
        "to_arrow": "(self) -> pyarrow.Table",
        "to_pandas": "(self) -> pandas.DataFrame",
    },
    "Prediction": {
        "attention": "dict[float, NDArray[np.float32]]",
        "confidence": "NDArray[np.float32]",
        "overlay": "(self, alpha: float = 0.5) -> Image.Image",
        "save": "(self, path: str | os.PathLike[str]) -> Path",
    },
    "Predictor": {
        "__call__": "(self, image: ImageLike) -> Prediction",
        "classes": "ClassSet",
        "codebook": "Codebook",
        "map": "(self, images: Iterable[ImageLike], *, batch: int = 1) -> Iterator[Prediction]",
    },
    "RunResult": {
        "labels": "LabelSet | None",
        "report": "Path | None",
        "student_miou": "float | None",
        "teacher_miou": "float | None",
    },
}


def described(member: object) -> str:
    """A signature, or the type of a property."""
    getter = getattr(member, "fget", None) or getattr(member, "func", None)
    if getter is not None:
        return str(getter.__annotations__["return"])
    return str(inspect.signature(typing.cast(typing.Any, member))).replace("'", "") if callable(member) else "?"


def plain(signature: str) -> str:
    return signature.replace("'", "").replace('"', "")


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_names_and_signatures(name: str) -> None:
    value = getattr(autolabel, name)
    if not PUBLIC[name]:
        return
    hints = {key: getattr(hint, "__forward_arg__", hint) for key, hint in getattr(value, "__annotations__", {}).items()}
    fields = [f"{field}: {hint}" for field, hint in hints.items() if field[0] != "_"]
    is_record = name in ("CodeItem", "LabelItem", "Prediction", "RunResult")
    found = [plain(hint) for hint in fields] if is_record else [_signature(value)]
    assert found == [plain(text) for text in PUBLIC[name]]


def _signature(value: typing.Any) -> str:
    text = str(inspect.signature(value.__init__ if inspect.isclass(value) else value))
    return plain(text).replace("(self, ", "(").replace("(self)", "()")


def test_nothing_else_is_public() -> None:
    assert sorted(autolabel.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(autolabel))
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        _ = autolabel.laod


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_members(name: str) -> None:
    kept = ("__getitem__", "__len__", "__call__")
    members = {key: value for key, value in vars(getattr(autolabel, name)).items() if key[0] != "_" or key in kept}
    fields = {line.partition(":")[0] for line in PUBLIC[name]} | {"model_config", "model_fields"}
    methods = {key: described(getattr(getattr(autolabel, name), key)) for key in members if key not in fields}
    assert methods == {key: plain(text) for key, text in MEMBERS[name].items()}


def test_import_has_no_side_effects_and_is_light() -> None:
    code = (
        "import json, signal, sys, os, logging, threading\n"
        "def state():\n"
        "    handlers = [str(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM)]\n"
        "    return [handlers, dict(os.environ), len(logging.root.handlers), threading.active_count()]\n"
        "before, known = state(), set(sys.modules)\n"
        "import autolabel\n"
        "print(json.dumps([before == state(), sorted(set(sys.modules) - known)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    unchanged, modules = json.loads(done.stdout)
    assert unchanged
    assert [name for name in modules if name.startswith("autolabel")] == ["autolabel"]
    assert not {"torch", "numpy", "pydantic", "click", "pyarrow", "PIL"} & set(modules)
