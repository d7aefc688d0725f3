"""Experiments that break a rule each, and odd ones that break none; as text and as `--set`."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from tests.helpers.experiments import experiment_toml

if TYPE_CHECKING:
    from pydantic import BaseModel

GOOD = experiment_toml()


@dataclass(frozen=True)
class Config:
    """`says`: what the refusal must name; None: it is legitimate, and the settings in `means` must come out of it."""

    title: str
    raw: bytes
    overrides: tuple[str, ...] = ()
    says: str | None = ""
    means: dict[str, Any] = field(default_factory=dict)


def configs(rng: random.Random) -> list[Config]:
    found = [*_settings(), *_unknown(rng), *_texts(), *_forms(), *_legal(), *_overrides(), *_damaged(rng)]
    rng.shuffle(found)
    return found


# TOML values that no setting takes, as far as its kind goes.
WRONG = {
    int: ("1.5", '"1"', "nan", "-1", "true", "[1]", "{}", "1979-05-27", "1e3", "9223372036854775808", "inf"),
    float: ('"0.5"', "nan", "inf", "-inf", "-1.0", "true", "[0.5]", "{}", "1e400"),
    bool: ("0", '"true"', "[]", "1.0", "nan"),
    str: ("1", "true", "[]", "{}", "nan"),
    tuple: ("1", '"x"', "[[]]", "{}", "[nan]", "[true]", '["\\u0000"]'),
}


def _settings() -> list[Config]:
    """Every setting with what it does not take."""
    from autolabel.config.schema import Experiment

    return [
        Config(f"{name} = {value}", GOOD.encode(), (f"{name}={value}",), f"{name}")
        for name, kind in leaves(Experiment)
        for value in WRONG[kind]
        if not (name.endswith("uniform_classes") and value == '["\\u0000"]')  # a name is judged beside the classes
    ]


def leaves(model: type[BaseModel], prefix: str = "") -> list[tuple[str, type]]:
    """(dotted name, kind) of the settings below the tables; the data table's are those of synthetic scenes."""
    from autolabel.config.base import Config
    from autolabel.config.sources import SyntheticConfig

    found: list[tuple[str, type]] = []
    for name, about in model.model_fields.items():
        if name == "data":
            found += leaves(SyntheticConfig, "data.")
        elif isinstance(about.annotation, type) and issubclass(about.annotation, Config):
            found += leaves(about.annotation, f"{prefix}{name}.")
        elif name not in ("source", "weights", "huggingface") and get_origin(about.annotation) is not dict:
            found.append((f"{prefix}{name}", _kind(about.annotation)))
    return found


def _kind(annotation: Any) -> type:
    """The key of `WRONG` for an annotation; for a number or a word, that of the number."""
    found = _types(annotation)
    return next((kind for kind in (tuple, bool, float, int) if kind in found), str)


def _types(annotation: Any) -> set[Any]:
    """The types that an annotation is made of, without what its Literals and the items of its tuples are."""
    origin = get_origin(annotation)
    if origin is Literal:
        return set()
    if origin is None or origin is tuple:
        return {origin or annotation}
    parts = get_args(annotation)[:1] if origin is Annotated else get_args(annotation)
    return set().union(*map(_types, parts))


def _unknown(rng: random.Random) -> list[Config]:
    from autolabel.config.schema import Experiment

    found = []
    for name, _ in leaves(Experiment):
        table, _, key = name.rpartition(".")
        wrong = {key.upper(), f"{key}_", key[:-1], f"{key} 2", f"é{key}", key + rng.choice("xyz")} - {key, ""}
        for other in sorted(wrong)[:2]:
            dotted = f"{table}.{other}" if table else other
            found.append(Config(f"unknown {dotted}", GOOD.encode(), (f"{dotted}=1",), "unknown key"))
    return found


def _texts() -> list[Config]:
    """Files that are no TOML."""
    texts = {
        "nothing": "", "a word": "x", "half a table": "[data", "a key twice": 'name = "x"\n' + GOOD,
        "a table twice": GOOD + "[data]\nsource = 'camvid'\n", "a value twice": GOOD + "[teacher]\nlr=1.0\nlr=2.0\n",
        "a dotted key over a value": GOOD + "[teacher]\nlr = 1.0\nlr.x = 1\n", "an escape": 'name = "\\q"\n',
        "a NUL": GOOD + "\0", "a long number": "seed = " + "9" * 5000, "deep lists": "seed = " + "[" * 5000,
        "a long number in hex": f"seed = 0x{'f' * 9000}\n" + GOOD,
        "deep tables": "seed = " + "{a=" * 3000, "deep keys": "a" + ".a" * 5000 + " = 1", "JSON": '{"name": "x"}',
        "YAML": "name: x\ndata:\n  source: synthetic\n", "INI": "[data]\nsource = synthetic\n",
        "no end of a text": 'name = "x', "a carriage return": 'name = "x\rsource"\n',
        "an escape sequence": "\x1b[31m = 1",
        "a control character": 'name = "\x01"\n', "an odd date": "seed = 2020-13-01\n", "octal": "seed = 0o9\n",
        "a comment alone": "# x\n", "HTML": "<script>alert(1)</script>\n", "two equal signs": "name == 'x'\n",
    }  # fmt: skip
    found = [Config(title, text.encode()) for title, text in texts.items()]
    raws = {
        "noise": bytes(range(256)), "UTF-16": GOOD.encode("utf-16"), "UTF-32": GOOD.encode("utf-32"),
        "Latin 1": "name = 'é'".encode("latin1"),
        "a PNG": b"\x89PNG\r\n\x1a\n",
        "a surrogate": b"name = '\xed\xa0\x80'\n", "a megabyte": b"# " + b"x" * 1_000_000, "gzip": b"\x1f\x8b\x08" * 9,
    }  # fmt: skip
    return found + [Config(title, raw) for title, raw in raws.items()]


FORMS = r"""
name = ""
name = "../x"
name = "a/b"
name = "a\n"
name = ".x"
name = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
name = "é"
name = "e\u0301"
name = "x "
name = "x\u0000"
name = "-"
name = "$HOME"
name = "`id`"
pipeline = "teacher"
pipeline = "../teacher_student"
pipeline = "Teacher_Student"
pipeline = ""
pipeline = "os"
pipeline = "teacher_student.py"
pipeline = "_"
pipeline = "x\n"
data = 1
data = []
data = "x"
data = {}
data = {source = 1}
data = {source = "cityscape"}
data = {source = "camvid"}
data = {source = "folder", root = 1}
data = {source = "folder", root = ""  , x = 1}
data = {source = "camvid", root = "a\u0000b"}
teacher = 1
teacher = []
teacher = "x"
teacher = nan
teacher = {model = 1}
teacher = {model = {trunk = 1}}
teacher = {phases = [1]}
teacher = {phases = [{}]}
teacher = {phases = [{layers = []}]}
teacher = {phases = [{layers = ["fine"], epochs = 1}]}
teacher = {class_map = {a = 1}}
teacher = {class_map = []}
teacher = {augment = {cutmix = 0.6, classmix = 0.6}}
teacher = {uniform_classes = [1]}
teacher = {labels = []}
teacher = {labels = ["truth"]}
teacher = {weights = 1}
teacher = {weights = "a\u0000b"}
teacher = {huggingface = 1}
infer = {scales = []}
infer = {scales = [0.5]}
infer = {scales = [1.0, 1.0]}
infer = {scales = [1.0, 9.0]}
infer = {scales = [1.0, 0.0]}
infer = {edges = [0.0]}
infer = {edges = [1.0]}
infer = {edges = 0.5}
infer = {scales = [1.0, nan]}
label = {threshold = 1.1}
label = {class_thresholds = {car = 2.0}}
label = {class_thresholds = {car = nan}}
label = {class_thresholds = [0.5]}
label = {coarse = "on"}
rounds = 0
rounds = -1
rounds = 1.5
rounds = "2"
rounds = 9223372036854775808
fuse = {layers = []}
fuse = {layers = ["truth"]}
fuse = {layers = "fine"}
runtime = {device = "gpu"}
runtime = {device = "cuda:1000"}
runtime = {device = "cpu\n"}
runtime = {jobs = 5000}
runtime = {compile = true, activation_checkpointing = true}
student = {label_weights = "some"}
student = {batch = 0}
student = {crop = [0, 1]}
student = {crop = [1]}
student = {crop = [1, 2, 3]}
"""


def _forms() -> list[Config]:
    """TOML, but no experiment."""
    found = []
    for line in FORMS.strip().splitlines():
        key, _, value = line.partition(" = ")
        found.append(
            Config(
                line, GOOD.encode(), (line,), "source" if value in ("{source = 1}", '{source = "cityscape"}') else key
            )
        )
    return found


def _legal() -> list[Config]:
    crlf = GOOD.replace("\n", "\r\n").encode()
    inline = b'name = "x"\ndata = {source = "synthetic"}\nteacher = {model = {trunk = "resnet_tiny"}}\n'
    quoted = b'"name" = \'x\'\n"data"."source" = """synthetic"""\nseed = 0x1F\n'
    return [
        Config("as it is", GOOD.encode(), says=None),
        Config("CRLF", crlf, says=None, means={"name": "x"}),
        Config("inline tables", inline, says=None, means={"teacher.model.trunk": "resnet_tiny"}),
        Config("quoted keys", quoted, says=None, means={"name": "x", "seed": 31}),
        Config("a whole number for a share", GOOD.encode(), ("label.threshold=1",), None, {"label.threshold": 1.0}),
        Config("no quotes", GOOD.encode(), ("runtime.device=cpu",), None, {"runtime.device": "cpu"}),
        Config("spaces", GOOD.encode(), (" teacher . epochs = 3 ",), None, {"teacher.epochs": 3}),
        Config("the last counts", GOOD.encode(), ("seed=1", "seed=2"), None, {"seed": 2}),
        Config("underscores", GOOD.encode(), ("seed=1_000",), None, {"seed": 1000}),
        Config("a table", GOOD.encode(), ("label={threshold=0.7}",), None, {"label.threshold": 0.7}),
        Config("the largest seed", GOOD.encode(), (f"seed={2**63 - 1}",), None, {"seed": 2**63 - 1}),
        Config("a class of any name", GOOD.encode(), ('label.class_thresholds={"<b>\\u001b" = 0.5}',), None,
               {"label.class_thresholds": {"<b>\x1b": 0.5}}),
    ]  # fmt: skip


def _overrides() -> list[Config]:
    forms = (
        "", "=", "x", "=1", ".=1", "a.=1", ".a=1", "name.x=1", "data.source.x=1", "teacher", "teacher.epochs",
        "teacher.epochs=", "teacher.epochs=1\nseed=2", "\udcff=1", "name=\udcff", "seed=[" + "[" * 4000, "\x1b[31m=1",
        "seed=1; import os", "__class__=1", "teacher.__init__=1", "a" + ".a" * 3000 + "=1", "seed=1e999", "seed='",
        "teacher.model=resnet_tiny", "data=folder", "data.root=/", "seed=0b2", "seed=9" * 900,
    )  # fmt: skip
    return [Config(f"--set {form[:40]!r}", GOOD.encode(), (form,)) for form in forms]


def _damaged(rng: random.Random) -> list[Config]:
    """A shipped experiment with a line that is broken; whatever comes of it, it is no traceback."""
    from autolabel.resources import names, resource

    found = []
    for name in [n for n in names("configs") if n.endswith(".toml")]:
        raw = resource("configs", name)
        for _ in range(8):
            at = rng.randrange(len(raw))
            byte = bytes([rng.choice(b'\x00\xff"[]{}=.\\\n')])
            found.append(Config(f"{name} with {byte!r} at {at}", raw[:at] + byte + raw[at + 1 :], says=ANYTHING))
    return found


ANYTHING = "\0anything"  # refused or accepted


def refusal(config: Config) -> str | None:
    """The fault in how a case is met, or None."""
    from autolabel.config.load import parse_experiment
    from autolabel.errors import ConfigError
    from autolabel.flow.graph import load_pipeline

    try:
        experiment = parse_experiment(config.raw, where="x.toml", base=Path("/nowhere"), overrides=config.overrides)
        load_pipeline(experiment)
    except ConfigError as error:
        said = str(error)
        if config.says is None:
            return f"refused: {said[:200]}"
        named = config.says == ANYTHING or config.says in said
        return None if named and said.isprintable() else f"does not name {config.says!r}: {said[:300]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    if config.says == ANYTHING:
        return None
    if config.says is not None:
        return "accepted"
    wrong = {name: found for name, wanted in config.means.items() if (found := _value(experiment, name)) != wanted}
    return f"means {wrong}" if wrong else None


def _value(experiment: object, name: str) -> object:
    for part in name.split("."):
        experiment = getattr(experiment, part)
    return experiment
