"""A stage's declaration and its context: the facts of a step."""

from __future__ import annotations

from pathlib import Path

import pytest

from autolabel.config.schema import Experiment, InferConfig, LabelConfig, RuntimeConfig
from autolabel.config.sources import FolderConfig, SyntheticConfig
from autolabel.flow.stage import (
    Context,
    DatasetSizes,
    DiskEstimate,
    ImageCount,
    PreflightContext,
    never_retry,
    roots_of,
    setting_name,
    table_sized,
)
from autolabel.signals import StopFlag
from autolabel.store import open_draft
from tests.flow.small import EXPERIMENT, NUMBERS, made


def test_roots_of_a_manifest(tmp_path: Path) -> None:
    """Its files lie in the user's folder, and in the artefacts among the inputs."""
    inputs = {name: made(tmp_path / name) for name in ("data", "labels", "fused", "model")}
    folder = Experiment(name="x", data=FolderConfig(source="folder", root=tmp_path / "user"))
    below = {name: inputs[name].data for name in ("data", "labels", "fused")}
    assert roots_of(folder, inputs) == {"source": tmp_path / "user", **below}
    assert roots_of(EXPERIMENT, {"data": inputs["data"]}) == {"data": inputs["data"].data}, "rendered scenes have none"
    assert roots_of(EXPERIMENT, {"before": inputs["model"]}, "before") == {"data": inputs["model"].data}
    context = Context(
        node="x",
        settings=LabelConfig(),
        seed=0,
        experiment=folder,
        inputs=inputs,
        sources={},
        draft=open_draft(tmp_path / "draft", "0" * 64),
        runtime=RuntimeConfig(),
        stop=StopFlag(),
        quiet=True,
    )
    assert context.roots() == roots_of(folder, inputs)
    assert context.roots("model") == roots_of(folder, inputs, "model")
    assert dict(context.identity) == {}, "without a key document there is nothing to compare with"


def test_settings_of_a_step_and_of_the_machine_have_their_full_names() -> None:
    names = [setting_name(LabelConfig(), name) for name in ("threshold", "class_thresholds.car", "device", "jobs")]
    assert names == ["label.threshold", "label.class_thresholds.car", "runtime.device", "runtime.jobs"]


def test_settings_of_an_input_are_of_its_kind() -> None:
    context = PreflightContext(LabelConfig(), {"codes": InferConfig(chunk=7)}, None)  # type: ignore[arg-type]
    assert context.input_settings("codes", InferConfig).chunk == 7
    with pytest.raises(AssertionError, match="codes: InferConfig"):
        context.input_settings("codes", LabelConfig)


def test_defaults_of_a_stage() -> None:
    count = ImageCount(3, None)
    assert table_sized(None, DatasetSizes(count, count, count)) == DiskEstimate(3, 1_003_000)  # type: ignore[arg-type]
    assert never_retry(EXPERIMENT, {}, None) is False  # type: ignore[arg-type]
    assert NUMBERS.uses(LabelConfig(), {}, RuntimeConfig()) == ((), None, {})
    assert NUMBERS.key_settings(SyntheticConfig(source="synthetic"), None)["source"] == "synthetic"  # type: ignore[arg-type]
