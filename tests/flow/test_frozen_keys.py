"""The keys of all stages as literals.

A key names an artefact by what it is computed from. A literal that has to change here means that every user's artefacts
of that stage become stale and are made again: raise the stage's `version` where its bytes change, and say so in
CHANGELOG.md. The keys are the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from autolabel import stages
from autolabel.config import networks, schema, sources
from autolabel.config.base import Config
from autolabel.data import build
from autolabel.flow.graph import Node
from autolabel.flow.keys import key_document, stage_key
from autolabel.flow.stage import Stage
from autolabel.stages.table import Row, Rows

ROWS = Rows(rows=(Row(title="Single", model="a", evaluation="b", eval_scales=(1.0,)),), crop=(32, 48))

# stage -> (settings that are all default, key)
FROZEN: dict[str, tuple[Config, str]] = {
    "manifest": (
        sources.SyntheticConfig(source="synthetic"),
        "c34a943d287f8d38f534c6f3cdcf5b99ef757a0f2da4469509ab15cef84c0622",
    ),
    "teacher": (networks.TeacherConfig(), "c6269f659f37305fdb9f26ea40b97921dbe7d3ee22cedd1a7f1470dd224aebd7"),
    "infer": (schema.InferConfig(), "6e228527ab585ebac61577f411ba924f0618875ac8157a35bda1dea23001f8b7"),
    "label": (schema.LabelConfig(), "f1a6d8616b3e8522d8264aa4c3e87048247cdc53827669ce3e5db0c9b4151a02"),
    "audit": (Config(), "b4439a088f0a209a85ac6ff5ebd80c2445c65b2372ec57d921e2013d51e48d50"),
    "compare": (Config(), "9b6e9fbc21d6d538642735095e607e120fd54707403aeaa23cfba0bec8806395"),
    "fuse": (schema.FuseConfig(), "65cfd4a8adb49d904436644633cf808198d75e2bf153a40ddfd39b8bf6e15509"),
    "student": (networks.StudentConfig(), "a74542d237027e21a31b6b4c7ed5d0d7a5c1e2706c44e5b46f8cae088c0c86d3"),
    "evaluate": (schema.EvaluateConfig(), "d23238e56d10b3b2b0d38f9f92e532a77a396f98bf02764cab711472c1300edd"),
    "report": (schema.ReportConfig(), "58e6082b90ad910f8eeeb9c6535ddf3eb88e1829d1d20ba98bf9f1958655e1d8"),
    "table": (ROWS, "1340e119733a61ee2183606a7b41c2d8c38a4bf71b8334d1e5c8dfe049296c3a"),
}
# The other sources of data, with a stand-in for the fingerprint of their files.
SOURCES: dict[str, tuple[sources.SourceConfig, str]] = {
    "camvid": (
        sources.CamVidConfig(source="camvid", root=Path("data")),
        "9289360c908d7a09fa5fe9fefc49c47fe171551336c05695a50554a17a14789c",
    ),
    "cityscapes": (
        sources.CityscapesConfig(source="cityscapes", root=Path("data")),
        "57c2fedaf4a8584f469903a5d69cf9094a30924e485102faa4d7853a2ca459fc",
    ),
    "mapillary": (
        sources.MapillaryConfig(source="mapillary", root=Path("data")),
        "fbb724db2224f1e3e1920dc99bc0c8fb2e8561d38d60f8b994d9255b737caad9",
    ),
    "folder": (
        sources.FolderConfig(source="folder", root=Path("data")),
        "89ec5aa2ba5e365d6686a324a35bf83b6d19136dbe438355df24333832c02ccc",
    ),
}
# Settings that change no byte of the artefact; `root` is where the data lies, the fingerprint says what it is.
NOT_IN_THE_KEY = {
    "manifest": {"root"},
    "teacher": {"checkpoint_every"},
    "student": {"checkpoint_every"},
    "evaluate": {"min_miou"},
    # They enter where they are not at their default: tests/stages/test_label_rules.py.
    "label": {"coarse_classes", "coarse_sets", "coarse_border", "min_region", "ego_mask"},
    "fuse": {"corrections"},  # their content enters where there are some: tests/stages/test_corrections.py
}
STAGES: dict[str, Stage] = {stage.name: stage for stage in (getattr(stages, name) for name in stages.__all__)}


def document(stage: Stage, settings: schema.Config) -> dict[str, object]:
    """The key document with every input of the stage, whose digest is that of its name."""
    inputs = (name.rstrip("?").replace("*", "one") for name in stage.inputs)
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in inputs}
    return key_document(Node(stage.name, stage, settings, 7, {}), digests)


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
    monkeypatch.setattr(build, "fingerprint", lambda settings, files: "0" * 64)
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
        "1a936b6ba71537d0566b93f1daa073608d15114143ce5a291f5347fe32290f44",
    )


@pytest.mark.parametrize("name", FROZEN)
def test_every_setting_enters_the_key(name: str) -> None:
    settings, _ = FROZEN[name]
    found = document(STAGES[name], settings)["settings"]
    added = {"content"} if name == "manifest" else set()
    assert isinstance(found, dict)
    assert set(found) == set(type(settings).model_fields) - NOT_IN_THE_KEY.get(name, set()) | added
