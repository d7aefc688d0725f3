"""The trackers: each shows the figures of a training in a tool that people watch. Their clients are optional extras.

A client writes below `folder`, or to a server: Weights & Biases after a login, others where their own environment
variables name one. It reports nothing to its makers unless the user's variables say so. It may raise anything:
`training.tracking` then goes on without it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from autolabel.distribution import install_command
from autolabel.errors import ConfigError


class TrackedRun(NamedTuple):
    """One training, as a tracker knows it. A resumed training has the same `id`."""

    project: str  # the experiment's name
    id: str  # of the training, unique in the project
    folder: Path  # for files of this tracker
    settings: Mapping[str, Any]  # plain values by name


class Tracker(Protocol):
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take figures by name, of a step that no figure of the same name had before."""

    def flush(self) -> None:
        """Return once all that was logged is on its way or on disk."""

    def close(self) -> None: ...


class TensorBoard:
    """Event files for `tensorboard --logdir`."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run.folder / run.project / run.id))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """Weights & Biases. `WANDB_MODE=offline` keeps the run in the folder, for `wandb sync`.

    Offline, the client's process holds the last rows in memory, and loses them if the training is killed. So each flush
    ends a part of the run, and `wandb sync` joins the parts by their id.
    """

    def __init__(self, run: TrackedRun) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        limits = {"init_timeout": 30, "finish_timeout": 60, "finish_timeout_raises": True}
        self._settings = wandb.Settings(silent=True, console="off", **limits)
        self._is_offline = _mode(wandb, self._settings) in _OFFLINE
        _check_login(wandb, self._settings)
        self._tracked, self._run = run, self._start(run)

    def _start(self, run: TrackedRun) -> Any:
        import wandb

        started = wandb.init(
            project=run.project,
            id=run.id,
            name=run.id,
            resume="allow",
            dir=str(run.folder),
            config=dict(run.settings),
            settings=self._settings,
        )
        started.define_metric("step")
        started.define_metric("*", step_metric="step")
        return started

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run = self._run or self._start(self._tracked)
        self._run.log({"step": step, **values})

    def flush(self) -> None:
        if self._run is None:
            return
        if self._is_offline:
            self.close()
        else:
            dict(self._run.summary)  # the client's process answers in order: then it has all records

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None


_OFFLINE = ("offline", "dryrun", "disabled")


def _mode(wandb: Any, settings: Any) -> str:
    return str(wandb.setup(settings).settings.mode)


def _check_login(wandb: Any, settings: Any) -> None:
    """PermissionError if `wandb.init` would ask for a key, on a terminal where maybe nobody sits."""
    if _mode(wandb, settings) in _OFFLINE:
        return
    if not wandb.login(prompt=False, verify=False):
        raise PermissionError("no login; run `wandb login`, or set WANDB_MODE=offline")


class MLflow:
    """An MLflow run: on the server of `MLFLOW_TRACKING_URI`, else in the folder."""

    def __init__(self, run: TrackedRun) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a training does not wait for a server
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._client: Any = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or run.folder.as_uri())
        experiment = self._client.get_experiment_by_name(run.project)
        number = experiment.experiment_id if experiment else self._client.create_experiment(run.project)
        known = self._client.search_runs([number], f"tags.autolabel_id = '{run.id}'", max_results=1)
        self._id = known[0].info.run_id if known else self._new_run(number, run)
        self._pending: list[tuple[str, float, int]] = []

    def _new_run(self, number: str, run: TrackedRun) -> str:
        made = self._client.create_run(number, run_name=run.id, tags={"autolabel_id": run.id})
        for name, value in run.settings.items():
            self._client.log_param(made.info.run_id, name, str(value)[:500])
        return str(made.info.run_id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._pending += [(name, value, step) for name, value in values.items()]

    def flush(self) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(_plain(name), value, now, step) for name, value, step in self._pending]
        for start in range(0, len(metrics), 1000):  # the most that a server takes at once
            self._client.log_batch(self._id, metrics=metrics[start : start + 1000])
        self._pending = []

    def close(self) -> None:
        self._client.set_terminated(self._id)


class Trackio:
    """Trackio, in the folder; `trackio show` opens its dashboard."""

    def __init__(self, run: TrackedRun) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(run.folder))
        os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # of the library that it imports
        self._place = run
        self._run: Any = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run = self._run or self._open()
        self._run.log(dict(values), step=step)

    def _open(self) -> Any:
        with redirect_stdout(StringIO()):  # stdout is for results
            import trackio

            run = self._place
            return trackio.init(
                project=run.project, name=run.id, resume="allow", config=dict(run.settings), embed=False
            )

    def flush(self) -> None:
        """Only the end of a run waits for the client's thread; the next figures resume it."""
        run, self._run = self._run, None
        if run is not None:
            with redirect_stdout(StringIO()):
                run.finish()

    def close(self) -> None:
        self.flush()


class Choice(NamedTuple):
    """A tracker and the module that its extra brings; the extra has the tracker's name."""

    build: Callable[[TrackedRun], Tracker]
    module: str


TRACKERS = {
    "tensorboard": Choice(TensorBoard, "tensorboard"),
    "wandb": Choice(Wandb, "wandb"),
    "mlflow": Choice(MLflow, "mlflow"),
    "trackio": Choice(Trackio, "trackio"),
}


def check_trackers(names: Sequence[str]) -> None:
    """ConfigError for the first tracker whose client is not installed."""
    for name in names:
        if find_spec(TRACKERS[name].module) is None:
            raise ConfigError(
                "runtime.track", f"the client of {name} is not installed", f"{install_command(name)}, or remove it"
            )


def _plain(name: str) -> str:
    """A name with the characters that MLflow allows."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)
