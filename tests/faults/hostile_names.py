"""Images and classes whose names are attacks, all the way: file, manifest, codes, label files, report, terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tests.faults.cabinet import Cabinet, put
from tests.faults.fault_wrong_calls import inside, snapshot
from tests.faults.tally import Tally
from tests.helpers.experiments import ONE_CORE, experiment_toml

SCRIPT = "<script>alert(1)</script>"
NAMES = (
    "plain", "a\nb", "\x1b[31mred\x1b[0m", "<script>alert(1)<", "<img src=x onerror=alert(1)>", "é", "Case",
    "case", "x" * 240, "-rf", " ", "a b", "'; touch canary; '", "$(touch canary)", "`touch canary`",
    "%2e%2e", "con", "\u202egnp", "a\\..\\b", "{{7*7}}", "{% raw %}", "&lt;", '"quoted"', "#", "?x=1", "~",
    "a\tb", "\x7f", "😀", "_" + "0" * 40,
)  # fmt: skip
CLASSES = ("<b>lawn</b>", "\x1b[31mpath", "</script><script>alert(2)</script>")
TAKEN_AS_IT_IS = {
    "epochs": 0,
    "weights": "weights",
    "model": {"trunk": "resnet_tiny", "head": "conv", "fusion": "single", "key_channels": 8},
}
EXPERIMENT = experiment_toml(
    name="names",
    data={"source": "folder", "root": "data"},
    teacher=TAKEN_AS_IT_IS,
    student=TAKEN_AS_IT_IS,
    infer={"scales": [1.0], "chunk": 8},
    label={"threshold": 0.3},
    report={"images": 32},
    runtime=ONE_CORE,
)


def run(things: Cabinet, folder: Path) -> Tally:
    """The pipeline once over all names; the networks are taken as they are, so nothing is trained."""
    _lay(things, folder)
    before = snapshot(folder)
    code, stdout, stderr, problem = _call(folder)
    if problem or code:
        return Tally("names", len(NAMES), (problem or f"exit code {code}: {stderr[-300:]}",))
    bad = [f"names: {text}" for text in _terminal(stdout, stderr)]
    changed = {name for name, about in snapshot(folder).items() if before.get(name) != about}
    bad += [f"names: wrote {name!r}" for name in changed if Path(name).parts[0] != "work"]
    bad += [f"names: {text}" for text in _labels(folder / "work")]
    bad += [f"names: {text}" for text in _page(folder / "work")]
    return Tally("names", len(NAMES) + len(CLASSES), tuple(bad))


def _lay(things: Cabinet, folder: Path) -> None:
    from autolabel.config.networks import ModelConfig
    from autolabel.models import WeightsCard, build_model, weights_to_bytes

    root = things.good["root"]
    image, label = (root / "images" / "0.png").read_bytes(), (root / "masks" / "0.png").read_bytes()
    for name in ("labelled", "held out"):
        put(folder / "data" / "images" / f"{name}.png", image)
        put(folder / "data" / "masks" / f"{name}.png", label)
    for name in NAMES:
        put(folder / "data" / "images" / f"{name}.png", image)
    put(folder / "data" / "classes.toml", f"names = {json.dumps(CLASSES)}".encode())
    put(folder / "x.toml", EXPERIMENT.encode())
    table = ModelConfig(trunk="resnet_tiny", head="conv", fusion="single", key_channels=8)
    card = WeightsCard(table=table, class_names=CLASSES)
    put(folder / "weights", weights_to_bytes(build_model(table, len(CLASSES)).eval(), card))


def _call(folder: Path) -> tuple[int, str, str, str]:
    from click.testing import CliRunner

    from autolabel.cli.main import cli

    with inside(folder):
        result = CliRunner().invoke(cli, ["run", "x.toml", "--work", "work", "-v"])
    error = result.exception
    problem = "" if error is None or isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
    return result.exit_code, result.stdout, result.stderr, problem


def _terminal(*streams: str) -> Iterator[str]:
    for line in "".join(streams).split("\n"):
        if not line.isprintable():
            yield f"control characters on the terminal: {line!r}"


def _labels(work: Path) -> Iterator[str]:
    """Every image has its label file, of a harmless name, and no two share one even where case is ignored."""
    from autolabel.data.manifest import Manifest
    from autolabel.store import Artefact
    from autolabel.store.names import check_name

    (folder,) = (work / "artefacts" / "label").glob("[0-9a-f]*")
    artefact = Artefact.open(folder)
    labels = Manifest.from_files(artefact.read).labels
    missing = {*NAMES} - {label.image_id for label in labels}
    if missing:
        yield f"no label of {sorted(missing)}"
    paths = [check_name(label.path) for label in labels]
    if len({path.lower() for path in paths}) < len(paths):
        yield "two labels share a file"
    for label in labels:
        if len(artefact.read(label.path)) != label.bytes:
            yield f"the label of {label.image_id!r} is another"


def _page(work: Path) -> Iterator[str]:
    """Names stand in the report as text."""
    (file,) = (work / "artefacts" / "report").glob("[0-9a-f]*/data/report.html")
    page = file.read_text("utf-8")
    for raw in ("<script>alert", "<img src=x", "<b>lawn", "\x1b", "\u202e"):
        if raw in page:
            yield f"{raw!r} stands raw in the report"
    if "&lt;b&gt;lawn" not in page:
        yield "the report does not name the class that looks like HTML"
    for control in sorted({c for c in page if not c.isprintable() and c != "\n"}):
        yield f"{control!r} stands in the report"
