"""The environment of a step: recorded, compared on resume, and asked about where the result depends on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autolabel.config.base import Config
from autolabel.config.networks import ModelConfig, TeacherConfig
from autolabel.config.schema import RuntimeConfig
from autolabel.errors import ConfigError
from autolabel.flow import environment
from autolabel.flow.environment import Uses, changes, compared, environment_of, require_same
from autolabel.stages import uses as uses_of_stages
from autolabel.stages.foreign import FOREIGN_FILE
from autolabel.stages.infer import INFER
from autolabel.stages.label import LABEL
from autolabel.stages.train import TEACHER
from autolabel.stages.uses import infer_uses, training_uses
from autolabel.store import Artefact, open_draft
from autolabel.store.draft import drafts
from autolabel.training.trainer import Trainer
from tests.stages.tiny_pipeline import Tiny, call

KEY = "0123456789abcdef" * 4
HERE: dict[str, Any] = {"versions": {"torch": "2", "zlib": "1"}, "device": "cpu A", "threads": 2, "processes": 1}


def test_of_this_process() -> None:
    found = environment_of(RuntimeConfig(threads=3), 2, {"versions"})
    assert (found["threads"], found["processes"]) == (3, 2)
    assert {"autolabel", "torch", "numpy", "zlib"} <= found["versions"].keys()
    assert "device" not in found, "which costs the import of torch"
    assert environment_of(RuntimeConfig(device="cpu"), 1, {"device"})["device"].startswith("cpu ")


def test_what_one_step_uses_is_stated_of_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = {"settings": {"model": {"trunk": "timm:efficientnet_b4"}}}
    timm = open_draft(tmp_path / "a", KEY).commit(meta={}, provenance={"key": trunk})
    draft = open_draft(tmp_path / "b", KEY)
    draft.write(FOREIGN_FILE.name, b'{"kind": "onnx"}')
    onnx = draft.commit(meta={}, provenance={})
    runtime = RuntimeConfig(device="cpu", compile=True, infer_batch=3)
    monkeypatch.setattr(environment, "version", lambda name: f"of {name}")
    monkeypatch.setattr(uses_of_stages, "needs_transformers", lambda model: False)
    found = [environment_of(runtime, 1, (), uses)["versions"].keys() for uses in (
        Uses(), infer_uses(Config(), {"model": timm}, runtime), infer_uses(Config(), {"model": onnx}, runtime),
        training_uses(TeacherConfig(model=ModelConfig(trunk="timm:x")), {}, runtime),
    )]  # fmt: skip
    assert [names - found[0] for names in found] == [
        set(), {"timm", "torchvision"}, {"onnxruntime"}, {"timm", "torchvision"}
    ]  # fmt: skip
    assert infer_uses(Config(), {"model": timm}, runtime).more == {}
    monkeypatch.setattr(uses_of_stages, "resolve_device", lambda name: name)
    on_gpu = RuntimeConfig(device="cuda", compile=True, infer_batch=3)
    assert infer_uses(Config(), {"model": timm}, on_gpu).more == {"batch": 3, "compile": True}
    foreign = infer_uses(Config(), {"model": onnx}, on_gpu)
    assert (foreign.device, foreign.more) == ("cpu", {})
    assert environment_of(on_gpu, 1, {"device"}, foreign)["device"].startswith("cpu ")


@pytest.mark.parametrize(
    ("stage", "change", "allowed"),
    [
        (LABEL, {"threads": 4, "processes": 3, "device": "gpu"}, True),
        (LABEL, {"versions": {"torch": "2", "zlib": "2"}}, False),
        (INFER, {"threads": 4, "processes": 3}, True),
        (INFER, {"device": "cpu B"}, False),
        (INFER, {"versions": {"torch": "3", "zlib": "1"}}, False),
        (TEACHER, {"threads": 4}, False),
        (TEACHER, {"processes": 2}, False),
        (TEACHER, {}, True),
    ],
)
def test_a_step_goes_on_only_where_its_result_does_not_depend_on_the_change(
    stage: Any, change: dict[str, Any], allowed: bool
) -> None:
    now = HERE | change
    require_same("x", [], now, stage.depends_on)
    require_same("x", [now], now, stage.depends_on)
    if allowed:
        require_same("x", [HERE], now, stage.depends_on)
        return
    names = r"begun under another environment.*--restart-other-environment.*--allow-other-environment"
    with pytest.raises(ConfigError, match=names):
        require_same("x", [HERE], now, stage.depends_on)


def test_on_a_gpu_threads_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = RuntimeConfig(device="cpu")
    assert compared(TEACHER.depends_on, runtime) == TEACHER.depends_on
    monkeypatch.setattr("autolabel.flow.environment.resolve_device", lambda name: "cuda:1")
    assert compared(TEACHER.depends_on, runtime) == {"versions", "device", "processes"}
    assert compared(INFER.depends_on, runtime) == {"versions", "device"}


def test_transformers_counts_where_the_network_may_be_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = RuntimeConfig(device="cpu")
    for settings, counts in (({}, False), ({"huggingface": "x", "epochs": 0}, True)):
        uses = training_uses(TeacherConfig.model_validate(settings), {}, runtime)
        assert ("transformers" in uses.packages) == counts
    model = open_draft(tmp_path / "a", KEY).commit(meta={}, provenance={})
    for answer in (False, True):
        monkeypatch.setattr(uses_of_stages, "needs_transformers", lambda model, answer=answer: answer)
        assert ("transformers" in infer_uses(Config(), {"model": model}, runtime).packages) == answer


def test_changes_are_named() -> None:
    now = HERE | {"threads": 4, "versions": {"torch": "3", "numpy": "1", "zlib": "1"}}
    assert changes(HERE, now, HERE) == ["threads 2 -> 4", "numpy None -> 1", "torch 2 -> 3"]
    assert changes(HERE, now, {"device"}) == []


def test_a_draft_keeps_its_environments(tmp_path: Path) -> None:
    draft = open_draft(tmp_path, KEY)
    assert (draft.environments, draft.is_started()) == ([], False)
    draft.set_environments([HERE])
    again = open_draft(tmp_path, KEY)
    assert (again.environments, again.is_started()) == ([HERE], False)
    again.journal("items").append([{"file": "x"}])
    assert open_draft(tmp_path, KEY).is_started()


@pytest.mark.parametrize("bit", range(0, 8 * 400, 37))
def test_a_draft_with_a_flipped_bit_in_its_record_is_set_aside(tmp_path: Path, bit: int) -> None:
    draft = open_draft(tmp_path, KEY)
    draft.set_environments([HERE])
    draft.journal("items").append([{"file": "x"}])
    record = draft.path / "DRAFT"
    data = bytearray(record.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    record.write_bytes(data)
    assert drafts(tmp_path) == []
    again = open_draft(tmp_path, KEY)
    assert (again.environments, again.is_started()) == ([], False)
    assert again.aside is not None
    assert (again.aside / "DRAFT").read_bytes() == data
    assert open_draft(tmp_path, KEY).aside is None


@pytest.mark.slow
def test_a_stopped_training_asks_before_it_goes_on_with_other_threads(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    shutil.copytree(tiny.work / "artefacts" / "manifest", work / "artefacts" / "manifest")
    base = ["run", tiny.file, "--work", work, "--until", "teacher", "--set", "teacher.checkpoint_every=1"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", _fails_at(2, Trainer.train_step))
        assert call(*base, "--set", "runtime.threads=1").exit_code != 0
    refused = call(*base, "--set", "runtime.threads=2")
    assert refused.exit_code == 2, refused.stderr
    assert "teacher: was begun under another environment (threads 1 -> 2)" in refused.stderr
    both = call(*base, "--allow-other-environment", "--restart-other-environment")
    assert both.exit_code == 2
    assert "exclude each other" in both.stderr
    copy = tmp_path / "copy"
    shutil.copytree(work, copy)
    again = ["run", tiny.file, "--work", copy, *base[4:], "--set", "runtime.threads=2", "--restart-other-environment"]
    over = call(*again)
    assert over.exit_code == 0, over.stderr
    assert "teacher: was begun under another environment; starts over" in over.stderr
    [path] = (copy / "artefacts" / "teacher").iterdir()
    stated = json.loads((path / "provenance.json").read_bytes())["environments"]
    assert [environment["threads"] for environment in stated] == [2]
    done = call(*base, "--set", "runtime.threads=2", "--allow-other-environment")
    assert done.exit_code == 0, done.stderr
    assert "goes on under another environment: threads 1 -> 2" in done.stderr
    [path] = (work / "artefacts" / "teacher").iterdir()
    stated = json.loads((path / "provenance.json").read_bytes())["environments"]
    assert [environment["threads"] for environment in stated] == [1, 2]
    assert Artefact.open(path).verify(full=True) == []


def _fails_at(step: int, do: Callable[..., Any]) -> Callable[..., Any]:
    def train_step(self: Any, *args: Any, **options: Any) -> Any:
        if self.step >= step:
            raise ConfigError("step", "stops here")
        return do(self, *args, **options)

    return train_step
