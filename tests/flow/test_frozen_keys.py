"""The keys of all stages as literals.

A key names an artefact by what it is computed from. A literal that has to change here means that every user's artefacts
of that stage become stale and are made again: raise the stage's `version` where its bytes change, and say so in
CHANGELOG.md. The keys are the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from autolabel import stages
from autolabel.config import networks, schema, sources
from autolabel.config.base import Config
from autolabel.data.sources import registry
from autolabel.flow.graph import Node
from autolabel.flow.keys import key_document, stage_key
from autolabel.flow.stage import Stage
from autolabel.stages.table import Row, Rows

ROWS = Rows(rows=(Row(title="Single", model="a", evaluation="b", eval_scales=(1.0,)),), crop=(32, 48))

# stage -> (settings that are all default, key)
FROZEN: dict[str, tuple[Config, str]] = {
    "manifest": (
        sources.SyntheticConfig(source="synthetic"),
        "9541a640c4f4bb3fad9279921ee87296d9bc2d24422dfb592d0db94f9473de29",
    ),
    "teacher": (networks.TeacherConfig(), "9d3c30a02ef725c7193cc858840b1375d38fa618596fcfd6b8377592c98305b5"),
    "infer": (schema.InferConfig(), "b18e490452c31b76fa90d49042e51211b43b9a0b2385aa656163a636e5ab9329"),
    "label": (schema.LabelConfig(), "a8f20ae5ce2a4f49285c02721e0390c4aa82d8ad6201ea4c8fa54141da40f84c"),
    "audit": (Config(), "365fa3d5e7052fa0cc51bb99ef4d7835a6d5a817574507911ecc6f2d9f6a2cf6"),
    "compare": (Config(), "9b6e9fbc21d6d538642735095e607e120fd54707403aeaa23cfba0bec8806395"),
    "fuse": (schema.FuseConfig(), "c207ce4ee625f81feed30c901eea3bc9429ff41d28ee79d2db40ad6da341edfe"),
    "student": (networks.StudentConfig(), "903ba7c2a4ae451c5d04be089aeb273964e1b841370c14442d4bcad346758bd5"),
    "evaluate": (schema.EvaluateConfig(), "48de606d18db0f2e11504983bb04528ff1731e4dbeae61b3df4ebd28bb165986"),
    "report": (schema.ReportConfig(), "be563b5a9c287438fbb0d2debe130a6258a9f0301e64de281b8e3b182b1d77b1"),
    "table": (ROWS, "e5f61052f4187deae8769e77e8f9e88e1c41b0a33835f8da73fecba32e9f337c"),
}
# The other sources of data, with a stand-in for the fingerprint of their files.
SOURCES: dict[str, tuple[sources.SourceConfig, str]] = {
    "camvid": (
        sources.CamVidConfig(source="camvid", root=Path("data")),
        "a61b588281d79aa1d8e9e3f74a925624cabe6a7ffdd6b24ca96298f7ec8d51d8",
    ),
    "cityscapes": (
        sources.CityscapesConfig(source="cityscapes", root=Path("data")),
        "a0b37e804824ed360d3b236ea71fbf2d934e0f285a4c2df7c60f1183925d5747",
    ),
    "mapillary": (
        sources.MapillaryConfig(source="mapillary", root=Path("data")),
        "adf313e60d19f8f2e9b2b712047eab1bb7b43c1ed3fc06a6b2b79a43dbb6f7bb",
    ),
    "folder": (
        sources.FolderConfig(source="folder", root=Path("data")),
        "7ef14ff8f872eb0024c328e1a07b0f835bc0f9e0e183e81a297eb2325158f359",
    ),
}
# Settings that change no byte of the artefact; `root` is where the data lies, the fingerprint says what it is.
NOT_IN_THE_KEY = {
    "manifest": {"root"},
    "teacher": {"checkpoint_every", "foreign"},  # a foreign teacher enters where there is one
    "student": {"checkpoint_every"},
    "evaluate": {"min_miou"},
    "fuse": {"corrections"},  # their content enters where there are some: tests/stages/test_corrections.py
}
INPUTS_ADDED_LATER = {"initial?"}  # wired only where a setting that older runs cannot have asks for it
STAGES: dict[str, Stage] = {stage.name: stage for stage in (getattr(stages, name) for name in stages.__all__)}


def document(stage: Stage, settings: schema.Config) -> dict[str, object]:
    """The key document with every input of the stage; the digest of an input, or of its part, is that of the name."""
    inputs = (name.rstrip("?").replace("*", "one") for name in stage.inputs if name not in INPUTS_ADDED_LATER)
    reads = stage.reads(settings)
    digests = {name: digest(name) if name not in reads else {x: digest(x) for x in reads[name]} for name in inputs}
    return key_document(Node(stage.name, stage, settings, 7, {}), digests)


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def check(found: dict[str, object], key: str) -> None:
    shown = json.dumps(found, indent=1)
    assert stage_key(found) == key, f"its artefacts become stale (see the top of this file); the document is\n{shown}"


def test_every_stage_is_frozen() -> None:
    assert set(FROZEN) == set(STAGES)


@pytest.mark.parametrize("name", FROZEN)
def test_stage_keys(name: str) -> None:
    settings, key = FROZEN[name]
    check(document(STAGES[name], settings), key)


@pytest.mark.parametrize("name", SOURCES)
def test_manifest_keys_of_the_other_sources(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "fingerprint", lambda settings, files: "0" * 64)
    settings, key = SOURCES[name]
    check(document(stages.MANIFEST, settings), key)


def test_the_fingerprint_of_files(tmp_path: Path) -> None:
    """Names and contents of the files of a folder, wherever it lies."""
    for name in ("images/a.png", "images/b.png", "masks/a.png", "classes.toml"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text('names = ["road", "car"]\n')
    check(
        document(stages.MANIFEST, sources.FolderConfig(source="folder", root=tmp_path)),
        "be3eb44fe25ec8781172cc2d8ca47d95c12b171c59135b165d591cfcb689ff8e",
    )


@pytest.mark.parametrize("name", FROZEN)
def test_every_setting_enters_the_key(name: str) -> None:
    settings, _ = FROZEN[name]
    found = document(STAGES[name], settings)["settings"]
    added = {"content"} if name == "manifest" else set()
    assert isinstance(found, dict)
    later = {field for field in settings.added_later if getattr(settings, field) == default_of(settings, field)}
    assert set(found) == set(type(settings).model_fields) - NOT_IN_THE_KEY.get(name, set()) - later | added


def default_of(settings: Config, field: str) -> Any:
    return type(settings).model_fields[field].get_default(call_default_factory=True)


OTHER_VALUES: dict[str, Any] = {  # of the settings in `added_later`
    "loss_over": "all",
    "strong": networks.StrongConfig(colour=0.5),
    "method": "weak_to_strong",
    "online_pixels": "unlabelled",
    "online_threshold": 0.5,
    "foreign": networks.ForeignConfig(kind="arrays", path=Path("arrays"), values="probabilities", layout="HWC"),
    "coarse_classes": {"car": "fill"},
    "coarse_sets": {"car": ("car", "truck")},
    "coarse_border": 2,
    "min_region": {"car": 9},
    "ego_mask": Path("ego.png"),
    "agreement": 0.99,
}


@pytest.mark.parametrize("name", FROZEN)
def test_a_later_setting_enters_the_key_once_it_is_used(name: str) -> None:
    settings, _ = FROZEN[name]
    for field in settings.added_later:
        changed = settings.model_copy(update={field: OTHER_VALUES[field]})
        assert set(changed.for_key()) == {*settings.for_key(), field}
