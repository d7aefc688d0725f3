"""Rules by class in a run: their pixels, their ledger, `why`, and what the settings refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.artifacts import read_label_rules, read_ledger
from autolabel.cli.options import open_project
from autolabel.cli.why import pixel_life
from autolabel.data.manifest import Manifest
from autolabel.store import Artefact
from tests.stages.tiny_pipeline import Tiny, call, call_json

pytestmark = [pytest.mark.xdist_group("tiny"), pytest.mark.slow]
EDGES = "infer.edges=[0.113, 0.115, 0.117, 0.119, 0.121, 0.123, 0.126, 0.13, 0.5]"


def test_rules_in_a_run(tiny: Tiny, tmp_path: Path) -> None:
    ego = np.zeros((48, 80), np.uint8)
    ego[40:] = 255
    Image.fromarray(ego).save(tmp_path / "ego.png")
    settings = (
        EDGES,
        "label.threshold=0.119",
        "label.coarse=trust",
        "label.coarse_classes={road='fill', sky='agree', building='off'}",
        "label.coarse_sets={sky=['sky', 'building']}",
        "label.coarse_border=1",
        "label.min_region={road=40, sky=30}",
        f"label.ego_mask='{tmp_path / 'ego.png'}'",
    )
    options = [part for setting in settings for part in ("--set", setting)]
    call_json("run", tiny.file, "--work", tiny.work, "-q", "--until", "audit", *options)
    labels = Artefact.open(Path(tiny.states(*options)["label"]["path"]))
    rules, manifest = read_label_rules(labels), Manifest.from_files(labels.read)
    assert rules is not None
    assert rules.ego is not None
    np.testing.assert_array_equal(rules.ego, ego != 0)
    project = open_project(tiny.file, work=tiny.work, overrides=settings)
    reasons = {row.image_id: row.pixels for row in read_ledger(labels)}
    rng, seen = np.random.default_rng(0), set()
    for row in manifest.labels:
        label = np.array(Image.open(labels.data / row.path))
        assert sum(reasons[row.image_id].values()) == label.size
        assert (label[40:] == 255).all()
        for _ in range(12):
            y, x = (int(rng.integers(side)) for side in label.shape)
            life = pixel_life(project, row.image_id, x, y)
            expected = None if label[y, x] == 255 else manifest.classes.names[label[y, x]]
            assert life["label"] == expected
            assert reasons[row.image_id][life["outcome"]] > 0
            seen.add(life["outcome"])
    assert {"ego", "low_confidence"} <= seen
    assert {"filled", "ego", "border"} <= {name for pixels in reasons.values() for name, n in pixels.items() if n}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("label.coarse_classes={raod='fill'}", "did you mean 'road'"),
        ("label.coarse_sets={road=[]}", "stands for no class"),
        ("label.coarse_sets={road=['raod']}", "raod"),
        ("label.min_region={raod=3}", "raod"),
        ("label.ego_mask='missing.png'", "missing.png"),
    ],
)
def test_what_is_refused(tiny: Tiny, setting: str, words: str) -> None:
    result = call("run", tiny.file, "--work", tiny.work, "-q", "--until", "label", "--set", setting)
    assert result.exit_code in (2, 3), result.output
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr


def test_a_set_without_coarse_labels_has_no_effect(tiny: Tiny) -> None:
    options = ("--set", "label.coarse=off", "--set", "label.coarse_border=3")
    result = call("run", tiny.file, "--work", tiny.work, "-q", "--until", "label", *options)
    assert result.exit_code == 2
    assert "label.coarse_border: has no effect" in result.stderr
