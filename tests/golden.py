"""A golden record: proof that a refactoring changes nothing a user can observe.

    python tests/golden.py OLD.json                       # before
    python tests/golden.py NEW.json --against OLD.json    # after: one line per difference; exit code 1 if there is one

The record holds the root digest, stage key and files of every step of tiny runs of every pipeline, the stage keys of
all shipped configs, the state-dict entries of the networks, all `--help` texts and the keys of all `--json` outputs.
Root digests depend on the CPU and on the version of torch: compare records of one machine and one environment only.
The script takes a minute or two on one core.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import click
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever else is installed

from autolabel.cli.main import cli
from autolabel.config.load import load_experiment
from autolabel.data.sources import registry
from autolabel.errors import ConfigError
from autolabel.flow.graph import load_pipeline
from autolabel.flow.keys import key_document, stage_key

ROOT = Path(__file__).resolve().parents[1]
TRAINING = """
crop = [32, 48]
batch = 2
epochs = 2
epoch_images = 4
optimizer = "adamw"
lr = 1e-2
tile = 32
ema = 0.9
"""
MODEL = 'trunk = "hrnet_tiny"\nhead_channels = 8\nkey_channels = 4\nattention_channels = 4\n'
# The edges and the threshold suit a network of four steps: about half of the pixels are labelled.
EXPERIMENT = f"""
name = "tiny"
[data]
source = "synthetic"
size = [48, 80]
num_fine = 4
num_coarse = 3
num_val = 2
[teacher]{TRAINING}
[teacher.model]
{MODEL}
[infer]
scales = [0.5, 1.0]
chunk = 2
edges = [0.11, 0.115, 0.12, 0.125, 0.13, 0.15, 0.5]
[label]
threshold = 0.12
coarse = "fill"
[student]{TRAINING}
[student.model]
{MODEL}
[evaluate]
scales = [0.5, 1.0]
predictions = true
[runtime]
threads = 1
jobs = 1
device = "cpu"
"""


class TinyRun(NamedTuple):
    overrides: tuple[str, ...]
    until: str | None = None


SMALL_DEEPLAB = ("teacher.model.head=deeplabv3plus", "teacher.model.trunk=resnet_tiny_os16")
CUT_AND_MIX = ("teacher.augment.cutmix=0.5", "teacher.augment.classmix=0.5", "teacher.augment.blur=1.0")
PHASES = "teacher.phases=[{layers=['fine'],uniform=['fine','coarse']},{layers=['fine'],epochs=1}]"

# They share one work folder, so each makes only the steps in which it differs from those before it.
RUNS = {
    "rounds": TinyRun(("rounds=2",)),
    "ablation": TinyRun(("pipeline=ablation", "label.weights=true", "student.label_weights=probability")),
    "fusions": TinyRun(("pipeline=fusions", *SMALL_DEEPLAB, "evaluate.predictions=false")),
    "second": TinyRun(("infer.second_below=0.12", "label.coarse=veto", "label.class_thresholds={road=0.115}"), "fuse"),
    "windows": TinyRun(("infer.flip=true", "infer.window=[32,48]", "infer.overlap=16", "label.coarse=off"), "audit"),
    "archive": TinyRun(("label.codec=archive",), "label"),
    "bce": TinyRun(("teacher.loss=bce", *CUT_AND_MIX, "teacher.optimizer=sgd", "seed=1"), "teacher"),
    "ce": TinyRun(
        ("teacher.loss=ce", "teacher.labels=['fine','coarse']", PHASES, "teacher.validate_every=1"),
        "teacher",
    ),
    "conv": TinyRun(("teacher.model.head=conv", "teacher.model.trunk=resnet_tiny"), "teacher"),
    "deeper": TinyRun(("teacher.model.head=deeper", "teacher.model.trunk=wide_resnet_tiny"), "teacher"),
    "deeperlab": TinyRun(("teacher.model.head=deeperlab", "teacher.model.trunk=xception_tiny"), "teacher"),
}


def call(*args: object) -> dict[str, Any]:
    """The object that a command prints with --json. SystemExit where the command fails."""
    result = CliRunner().invoke(cli, [*map(str, args), "--json"])
    if result.exit_code:
        raise SystemExit(f"autolabel {' '.join(map(str, args))}: exit code {result.exit_code}\n{result.output}") from (
            result.exception
        )
    return json.loads(result.stdout)


def options(overrides: tuple[str, ...]) -> list[str]:
    return [f"--set={override}" for override in overrides]


def key_paths(value: Any, prefix: str = "") -> set[str]:
    """Nested keys with the JSON type of their values: {"a": [{"b": 1}]} -> {"a[].b: number"}."""
    if isinstance(value, Mapping) and value:
        return set().union(*(key_paths(item, f"{prefix}.{key}".lstrip(".")) for key, item in value.items()))
    if isinstance(value, list) and value:
        return set().union(*(key_paths(item, f"{prefix}[]") for item in value))
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return {f"{prefix}: {names.get(type(value), 'number')}"}


def tiny_steps(experiment: Path, work: Path) -> dict[str, Any]:
    """Run every pipeline; what each step made."""
    return {name: _steps_of(run, experiment, work) for name, run in RUNS.items()}


def _steps_of(run: TinyRun, experiment: Path, work: Path) -> dict[str, Any]:
    common = (experiment, "--work", work, *options(run.overrides))
    call("run", *common, "-q", *(["--until", run.until] if run.until else []))
    states = {row["name"]: row for row in call("status", *common)["stages"]}
    made = {name: _artefact(Path(row["path"])) for name, row in states.items() if row["state"] == "fresh"}
    return {"all steps": list(states), **made}


def _artefact(path: Path) -> dict[str, Any]:
    """From its two records, so that no code of the store stands between."""
    commit, manifest = (json.loads((path / name).read_bytes()) for name in ("COMMIT", "manifest.json"))
    if not 0 < manifest["meta"].get("ignored_share", 0.5) < 1:
        raise SystemExit(f"{path}: every pixel is alike, so changes would not show; change the threshold")
    return {
        "root": commit["root"],
        "key": commit["key"],
        "files": [entry["name"] for entry in manifest["files"]],
        "meta": sorted(key_paths(manifest["meta"])),
    }


def config_keys() -> dict[str, Any]:
    """The stage key of every step of the shipped configs.

    The data is not there: the digest of an input is that of the name of its step, and every data set has the same
    fingerprint. So a setting that changes shows in the keys of its own steps alone.
    """
    with mock.patch.object(registry, registry.fingerprint.__name__, return_value="0" * 64):
        return {file.name: _keys_of(file) for file in sorted((ROOT / "configs").glob("*.toml"))}


def _keys_of(file: Path) -> dict[str, str]:
    nodes = load_pipeline(load_experiment(file)).nodes
    return {
        name: stage_key(key_document(node, {key: sha256(source.name) for key, source in node.inputs.items()}))
        for name, node in nodes.items()
    }


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def networks() -> dict[str, str]:
    """Per network: a digest of the names, types and shapes in its state dict, or a note that it is refused."""
    from autolabel.models.fusion import FUSIONS
    from autolabel.models.heads import HEADS
    from autolabel.models.trunks import TRUNKS

    choices = {(trunk, head, "hierarchical") for trunk in TRUNKS for head in HEADS}
    choices |= {(trunk, head, fusion) for trunk in ("resnet_tiny",) for head in HEADS for fusion in FUSIONS}
    choices |= {(trunk, "ocr", fusion) for trunk in ("hrnet_w48", "hrnet_tiny") for fusion in FUSIONS}
    return {" + ".join(choice): _network(*choice) for choice in sorted(choices)}


def _network(trunk: str, head: str, fusion: str) -> str:
    import torch

    from autolabel.models import build_model

    try:
        with torch.device("meta"):
            state = build_model({"trunk": trunk, "head": head, "fusion": fusion}, 19).state_dict()
    except ConfigError:
        return "refused"
    lines = [f"{name} {value.dtype} {tuple(value.shape)}" for name, value in sorted(state.items())]
    return f"{len(lines)} entries, {sha256(chr(10).join(lines))}"


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command and all below it, each with its words."""
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))


def help_texts() -> dict[str, Any]:
    """Lines of --help, and all options with the hidden ones."""
    return {" ".join(("autolabel", *path)): _help_of(path, command) for path, command in commands(cli)}


def _help_of(path: tuple[str, ...], command: click.Command) -> dict[str, list[str]]:
    result = CliRunner().invoke(cli, [*path, "--help"], terminal_width=110)
    assert result.exit_code == 0, result.output
    parameters = [" ".join((param.param_type_name, *param.opts, *param.secondary_opts)) for param in command.params]
    return {"lines": result.stdout.splitlines(), "parameters": sorted(parameters)}


def json_outputs(folder: Path, experiment: Path, work: Path) -> dict[str, list[str]]:
    """Keys of what each command prints with --json. SystemExit where one that has --json is not called here."""
    calls = dict(_json_calls(folder, experiment, work))
    known = {" ".join(path) for path, command in commands(cli) if any("--json" in p.opts for p in command.params)}
    missing = known - {name.partition(" (")[0] for name in calls}
    if missing:
        raise SystemExit(f"commands with --json that the golden record lacks: {', '.join(sorted(missing))}")
    return {name: sorted(key_paths(call(*args))) for name, args in calls.items()}


def _json_calls(folder: Path, experiment: Path, work: Path) -> Iterator[tuple[str, list[object]]]:
    on = {
        name: [experiment, "--work", work, *options(run.overrides)]
        for name, run in RUNS.items()
        if name in ("rounds", "ablation", "fusions")
    }
    paths = {row["name"]: Path(row["path"]) for row in call("status", *on["rounds"])["stages"]}
    for name, arguments in on.items():
        yield f"run ({name})", ["run", *arguments, "-q"]
        yield f"status ({name})", ["status", *arguments, "--why"]
        yield f"run (--dry-run, {name})", ["run", *arguments, "--dry-run"]
    yield "run (--dry-run, nothing made)", ["run", experiment, "--work", folder / "none", "--dry-run"]
    yield "run (--dry-run, changed)", ["run", *on["rounds"], "--set=label.threshold=0.13", "--dry-run"]
    for stage in ("manifest", "teacher", "infer", "label", "audit", "compare", "fuse", "student", "evaluate", "report"):
        yield stage, [stage, *on["rounds"], "-q"]
    yield "table", ["table", *on["fusions"], "-q"]
    yield "verify", ["verify", *on["rounds"], "--full"]
    yield "gc", ["gc", *on["rounds"], "--dry-run"]
    yield "demo", ["demo", "--work", folder / "demo", "-q", *_tiny_demo()]
    yield "doctor", ["doctor", "--work", work]
    image = next((paths["manifest"] / "data").rglob("*.png"))
    codes, teacher = paths["infer"], paths["teacher"]
    yield "cut", ["cut", codes, "--threshold", 0.13, "--class-threshold", "road=0.115", "--out", folder / "cut", "-q"]
    film = ["--details", "--animate", "--device", "cpu", "-q"]
    yield "predict", ["predict", "--teacher", teacher, image, "--out", folder / "predicted", *film]
    yield "cost", ["cost", "--trunk", "hrnet_tiny", "--size", "64x96"]
    yield "cost (experiment)", ["cost", experiment]
    yield "cost (weights)", ["cost", teacher / "data/weights.safetensors", "--size", "64x96"]
    yield "export model", ["export", "model", teacher, "--out", folder / "exported", "-q"]
    yield "import-weights", ["import-weights", _checkpoint(folder / "checkpoint.pth"), "--out", folder / "imported"]


def _tiny_demo() -> list[str]:
    """The demo with the numbers of the tiny experiment."""
    data = ("data.size=[48,80]", "data.num_fine=2", "data.num_coarse=2", "data.num_val=2", "runtime.device=cpu")
    sizes = ("crop=[32,48]", "batch=2", "epochs=1", "epoch_images=2", "tile=32")
    return options((*data, *(f"{table}.{size}" for table in ("teacher", "student") for size in sizes)))


def _checkpoint(file: Path) -> Path:
    """A checkpoint in the published layout."""
    import torch

    from autolabel.models import build_model, published_state

    torch.manual_seed(0)
    widths = {"head_channels": 8, "key_channels": 4, "attention_channels": 4}
    model = build_model({"trunk": "hrnet_tiny", **widths}, 19)
    torch.save({"state_dict": published_state(model)}, file)
    return file


def record() -> dict[str, Any]:
    """The whole document; everything that is made lies in a temporary folder."""
    with tempfile.TemporaryDirectory() as name, chdir(name):
        folder = Path(name)
        experiment, work = folder / "tiny.toml", folder / "work"
        experiment.write_text(EXPERIMENT)
        return {
            "steps": tiny_steps(experiment, work),
            "json": json_outputs(folder, experiment, work),
            "config keys": config_keys(),
            "networks": networks(),
            "help": help_texts(),
        }


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """One line per difference; lists by the lines they gained and lost."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            where = f"{path} / {key}" if path else key
            if key not in new or key not in old:
                yield f"{where}: {'gone' if key in old else 'new'}"
            else:
                yield from differences(old[key], new[key], where)
    elif isinstance(old, list) and isinstance(new, list):
        changes = (line for line in difflib.ndiff(old, new) if line[0] in "+-")
        yield from (f"{path}: {line}" for line in changes)
    elif old != new:
        yield f"{path}: {old} -> {new}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Record what a user can observe, and compare it with a record.")
    parser.add_argument("out", type=Path, help="the JSON file to write")
    parser.add_argument("--against", type=Path, help="an older record of this machine")
    arguments = parser.parse_args()
    old = json.loads(arguments.against.read_text()) if arguments.against else None
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    found = record()
    arguments.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    if old is None:
        return 0
    lines = list(differences(old, found))
    print(*lines, f"{len(lines)} difference(s)", sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
