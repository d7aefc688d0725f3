from __future__ import annotations

from dataclasses import replace

import pytest

from autolabel.config.schema import FuseConfig, InferConfig, LabelConfig
from autolabel.errors import ConfigError
from autolabel.flow.graph import Pipeline, load_pipeline
from autolabel.flow.keys import differences, key_document, stage_key
from tests.flow.small import EXPERIMENT, FILTER, NUMBERS, SUM, build


def test_wiring_is_checked_as_it_is_written() -> None:
    p = Pipeline()
    numbers = p.add("numbers", NUMBERS, InferConfig())
    total = p.add("sum", SUM, FuseConfig(), parts={"all": numbers})
    with pytest.raises(ConfigError, match=r"^pipeline step 'high': input 'numbers' is missing; wire it$"):
        p.add("high", FILTER, LabelConfig())
    with pytest.raises(ConfigError, match=r"^pipeline step 'high': input 'numbers' wants numbers, 'sum' makes total$"):
        p.add("high", FILTER, LabelConfig(), numbers=total)
    with pytest.raises(ConfigError, match=r"'high': stage 'filter' has no input 'nmbers'; it has: numbers$"):
        p.add("high", FILTER, LabelConfig(), nmbers=numbers)
    with pytest.raises(ConfigError, match=r"^pipeline step 'numbers': is there twice; give it another name$"):
        p.add("numbers", NUMBERS, InferConfig())
    reads = "^pipeline step 'high': reads from 'numbers', which is not in this pipeline; add it first$"
    with pytest.raises(ConfigError, match=reads):
        Pipeline().add("high", FILTER, LabelConfig(), numbers=numbers)
    assert list(p.nodes) == ["numbers", "sum"], "a refused step leaves nothing behind"


def test_an_input_that_may_be_left_out() -> None:
    optional = replace(FILTER, inputs={"numbers": "numbers", "more?": "numbers", "parts.*": "numbers"})
    p = Pipeline()
    numbers = p.add("numbers", NUMBERS, InferConfig())
    assert list(p.add("one", optional, LabelConfig(), numbers=numbers).inputs) == ["numbers"]
    all_of_them = p.add("all", optional, LabelConfig(), seed=4, numbers=numbers, more=numbers, parts={"a.b": numbers})
    assert (list(all_of_them.inputs), all_of_them.seed) == (["numbers", "more", "parts.a.b"], 4)
    both = replace(FILTER, inputs={"a": "numbers", "b": "numbers"})
    with pytest.raises(ConfigError, match=r"has no input 'c'; it has: a, b$"):
        p.add("x", both, LabelConfig(), c=numbers)
    with pytest.raises(ConfigError, match="input 'b' is missing"):
        p.add("x", both, LabelConfig(), a=numbers)


def test_a_pipeline_that_does_not_exist() -> None:
    with pytest.raises(ConfigError) as error:
        load_pipeline(EXPERIMENT.model_copy(update={"pipeline": "none"}))
    known = "one of: ablation, fusions, teacher_student"
    assert str(error.value) == f"pipeline = 'none': is not known; {known}"
    assert "teacher" in load_pipeline(EXPERIMENT).nodes


def test_selection_by_step_and_by_stage() -> None:
    p = build()
    assert [n.name for n in p.select("high")] == ["high"]
    assert [n.name for n in p.select("filter")] == ["high"]
    assert [n.name for n in p.needed_for(p.select("high"))] == ["numbers", "high"]
    with pytest.raises(ConfigError, match=r"^step 'hihg': is not in this pipeline; one of: numbers, high, sum$"):
        p.select("hihg")


def test_the_key_is_frozen() -> None:
    """A literal: whoever changes what a key is made of makes every user's artefacts stale, and should know it."""
    document = key_document(build().nodes["high"], {"numbers": "0" * 64})
    assert document == {
        "stage": "filter",
        "version": 1,
        "seed": 0,
        "settings": {
            "threshold": 0.5,
            "threshold_on": "network",
            "quantile": 0.15,
            "quantile_range": [0.35, 0.9],
            "class_thresholds": {},
            "coarse": "off",
            "codec": "default",
            "ids": "train",
            "weights": False,
        },
        "inputs": {"numbers": "0" * 64},
    }
    assert stage_key(document) == "b03ee6da6fe8e706343eda9f22595bf7718b64f8d916926cb46a0633fc877e46"


def test_differences_name_dotted_keys() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [("a.c", 2, 3), ("d", None, 4)]
    assert differences({"a": [1]}, {"a": [1]}) == []
