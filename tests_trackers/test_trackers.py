"""The curves of a killed and resumed run, read back by the trackers' own libraries.

They have an environment of their own (`make test-trackers`). The others' tests hold the interface.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autolabel.artifacts import training_log
from autolabel.store import Artefact
from autolabel.training.tracking import figures_of
from tests.helpers.experiments import NARROW, ONE_CORE, experiment_toml, scenes
from tests.helpers.paths import ROOT

NAMES = ("tensorboard", "wandb", "mlflow", "trackio")
MODULES = {"mlflow": "mlflow", "tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}
Points = dict[tuple[str, int], float]  # by name and step

EXPERIMENT = {
    "name": "tracked",
    "data": scenes(64, 96, fine=4, coarse=1, val=2),
    "teacher": {
        "crop": [64, 64],
        "batch": 2,
        "epochs": 10,
        "epoch_images": 4,
        "lr": 0.01,
        "tile": 32,
        "validate_every": 2,
        "checkpoint_every": 3,
        "model": {"trunk": "resnet_tiny", **NARROW},
    },
}


def start(folder: Path) -> subprocess.Popen[bytes]:
    offline = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(folder / "work/track/trackio"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "autolabel", "run", "e.toml", "--work", "work", "--until", "teacher"]
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **offline}, stderr=subprocess.PIPE)


def installed() -> list[str]:
    from importlib.util import find_spec

    return [name for name in NAMES if find_spec(MODULES[name]) is not None]


def steps_done(folder: Path) -> int:
    logs = folder.glob("work/artefacts/teacher/*.partial/log/metrics.jsonl")
    return sum(log.read_bytes().count(b'"kind": "step"') for log in logs)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a run that was killed after 8 steps, some of them after its checkpoint, and run again."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "e.toml").write_text(experiment_toml(EXPERIMENT, runtime={**ONE_CORE, "track": installed()}))
    first = start(folder)
    while steps_done(folder) < 8:
        assert first.poll() is None, first.communicate()[1].decode()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = start(folder)
    errors = second.communicate()[1].decode()
    assert second.returncode == 0, errors
    assert re.search(r"goes on after step (6|9) of 20", errors)
    assert "tracker" not in errors, "no tracker failed"
    return folder / "work"


@pytest.fixture(scope="module")
def expected(run: Path) -> Points:
    """The figures of the run's own log."""
    (path,) = (run / "artefacts/teacher").iterdir()
    points: Points = {}
    for figures in filter(None, map(figures_of, training_log(Artefact.open(path)))):
        points |= {(name, figures.step): value for name, value in figures.values.items()}
    assert {step for name, step in points if name == "train/loss"} == set(range(1, 21))
    assert {step for name, step in points if name == "val/miou"} == {4, 8, 12, 16, 20}
    return points


def compare(points: Iterator[tuple[str, int, float]] | list[tuple[str, int, float]], expected: Points) -> None:
    read = list(points)
    twice = [key for key, count in Counter((name, step) for name, step, _ in read).items() if count > 1]
    assert not twice
    assert {(name, step): pytest.approx(value, rel=1e-5) for name, step, value in read} == expected


def test_tensorboard(run: Path, expected: Points) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    (folder,) = (run / "track/tensorboard/tracked").iterdir()
    files = sorted(folder.iterdir())
    assert len(files) == 2, "one per process"
    events = [event for file in files for event in EventFileLoader(str(file)).Load()]
    compare([(v.tag, e.step, float(make_ndarray(v.tensor))) for e in events for v in e.summary.value], expected)


def test_mlflow(run: Path, expected: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient((run / "track/mlflow").as_uri())
    experiment = client.get_experiment_by_name("tracked")
    (made,) = client.search_runs([experiment.experiment_id])
    assert made.info.status == "FINISHED"
    assert made.data.params["batch"] == "2"
    names = {name for name, _ in expected}
    points = [(m.key, m.step, m.value) for name in names for m in client.get_metric_history(made.info.run_id, name)]
    compare(points, expected)


def wandb_records(data: bytes) -> Iterator[bytes]:
    """The records of an offline run: a header, then a LevelDB log of blocks of 32 KiB."""
    at, parts = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # the rest of a block is padding
            at += 32768 - at % 32768
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_wandb_offline(run: Path, expected: Points) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    rows: list[dict[str, Any]] = []
    files = sorted((run / "track/wandb/wandb").glob("offline-run-*/*.wandb"))
    assert len(files) > 2, "one per checkpoint: the client loses what it holds when its training is killed"
    assert len({file.name for file in files}) == 1, "of one run"
    for file in files:
        for data in wandb_records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    points = [(name, row["step"], value) for row in rows for name, value in row.items() if "/" in name]
    compare(points, expected)


def test_trackio(run: Path, expected: Points) -> None:
    trackio = pytest.importorskip("trackio")
    del trackio
    import sqlite3

    (file,) = (run / "track/trackio").glob("tracked*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("select step, metrics from metrics").fetchall()
    compare(
        [(name, step, value) for step, text in rows for name, value in json.loads(text).items() if "/" in name],
        expected,
    )
