"""`thresholds`, `why` and `diff` on a real run."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.cli.options import open_project
from autolabel.cli.why import pixel_life
from autolabel.data.loaders import load_label
from autolabel.data.manifest import Manifest
from autolabel.labels.shards import read_shard
from tests.stages.tiny_pipeline import Tiny, call, call_json

pytestmark = pytest.mark.xdist_group("tiny")


@pytest.mark.slow
def test_thresholds(tiny: Tiny, tmp_path: Path) -> None:
    evidence = json.loads((tiny.data("audit") / "audit.json").read_text())["evidence"]
    result = call_json("thresholds", tiny.file, "--work", tiny.work)
    assert result["images"] == 3
    for t, point in enumerate(evidence["thresholds"]):
        for name, row in point["classes"].items():
            assert result["classes"][name]["right"][t] == row["precision"]
            assert result["classes"][name]["kept"][t] == row["kept"]
    copy = tmp_path / "copy.toml"
    copy.write_text("# mine\n" + tiny.file.read_text())
    said = call("thresholds", copy, "--work", tiny.work, "--keep", "50%", "--write")
    assert said.exit_code == 0, said.output
    chosen = tomllib.loads(copy.read_text())["label"]["class_thresholds"]
    assert chosen
    assert copy.read_text().startswith("# mine\n")
    before = copy.read_bytes()
    said = call("thresholds", copy, "--work", tiny.work, "--max-error", "5%", "--write")
    assert "cannot be promised with" in said.stdout
    assert copy.read_bytes() == before, "nothing is promised, so nothing is written"


OPTIONS = (
    "--set=infer.edges=[0.113, 0.115, 0.117, 0.119, 0.121, 0.123, 0.126, 0.13, 0.5]",
    "--set=infer.second_below=0.121",
    "--set=label.threshold=0.117",
    "--set=label.class_thresholds={road=0.119, car=0.115}",
)


def explain(label: int, winner: int, above: bool, coarse: int, policy: str) -> str:
    """The rule in plain words, for one pixel."""
    if policy == "fill" and coarse != 255:
        return "filled"
    if not above:
        return "low_confidence"
    return "veto" if policy == "veto" and coarse not in (255, winner) else "kept"


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["fill", "veto", "off"])
def test_why(tiny: Tiny, policy: str) -> None:
    """Random pixels against a recomputation from the files; the same after the teacher's folder is gone."""
    options = (*OPTIONS, f"--set=label.coarse={policy}")
    call_json("run", tiny.file, "--work", tiny.work, "-q", "--until", "label", *options)
    steps = tiny.states(*options)
    codes, labels = (Path(steps[name]["path"]) / "data" for name in ("infer", "label"))
    manifest = Manifest.from_files(lambda name: (labels / name).read_bytes())
    data = Manifest.from_files(lambda name: (tiny.data("manifest") / name).read_bytes())
    names, rng = data.classes.names, np.random.default_rng(0)
    maps = {}
    for file in sorted(codes.glob("*.h5")):
        shard = read_shard(file)
        maps |= {image_id: shard.codes(image_id) for image_id in shard.ids}
    book = shard.book
    project = open_project(tiny.file, work=tiny.work, overrides=tuple(o.removeprefix("--set=") for o in options))
    lives, wanted = [], []
    for row in manifest.labels:
        label = np.array(Image.open(labels / row.path))
        drawn = data.label(row.image_id, "coarse")
        coarse = load_label(drawn, {"data": tiny.data("manifest")}, data.classes) if drawn else np.full_like(label, 255)
        for _ in range(20):
            y, x = (int(rng.integers(side)) for side in label.shape)
            code = int(maps[row.image_id][y, x])
            cell, second = divmod(code, len(names) + 1)
            winner, place = divmod(cell, book.bins)
            low, high = [0, *book.edges, 1][place : place + 2]
            threshold = {"road": 0.119, "car": 0.115}.get(names[winner], 0.117)
            outcome = explain(label[y, x], winner, low >= threshold, coarse[y, x], policy)
            wanted.append(
                {
                    "class": names[winner],
                    "above": low,
                    "at_most": high,
                    "second": names[second] if second < len(names) else None,
                    "coarse": names[coarse[y, x]] if policy != "off" and coarse[y, x] != 255 else None,
                    "threshold": threshold,
                    "outcome": outcome,
                    "label": names[label[y, x]] if label[y, x] != 255 else None,
                    "keeps_up_to": low if outcome == "low_confidence" else None,
                    "drops_from": high if outcome == "kept" and high < 1 else None,
                }
            )
            lives.append((row.image_id, x, y))
    found = [pixel_life(project, *life) for life in lives]
    assert [{key: life[key] for key in wanted[0]} for life in found] == wanted
    outcomes = {life["outcome"] for life in found}
    assert outcomes >= {"kept", "low_confidence"}
    assert outcomes - {"kept", "low_confidence"} == {"fill": {"filled"}, "veto": {"veto"}, "off": set()}[policy]
    teacher = Path(steps["teacher"]["path"])
    teacher.rename(teacher.with_name("gone"))
    try:
        others = [path for path in (tiny.work / "artefacts" / "label").iterdir() if path != labels.parent]
        for path in others:
            path.rename(tiny.folder / path.name)
        try:
            assert [pixel_life(project, *life) for life in lives[:5]] == found[:5]
        finally:
            for path in others:
                (tiny.folder / path.name).rename(path)
    finally:
        teacher.with_name("gone").rename(teacher)


@pytest.mark.slow
def test_why_says_it_in_words_and_refuses_what_is_not_there(tiny: Tiny) -> None:
    image = Manifest.from_files(lambda name: (tiny.data("label") / name).read_bytes()).labels[0].image_id
    said = call("why", tiny.file, image, "3,4", "--work", tiny.work)
    assert said.exit_code == 0, said.output
    assert f"{image} at x = 3, y = 4" in said.stdout
    assert "because" in said.stdout
    for pixel, words in (("80,4", "lies outside"), ("3,48", "lies outside"), ("3", "not of the form X,Y")):
        result = call("why", tiny.file, image, pixel, "--work", tiny.work)
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
        assert words in result.stderr
    assert "did you mean" in call("why", tiny.file, f"{image}x", "3,4", "--work", tiny.work).stderr


@pytest.mark.slow
def test_diff(tiny: Tiny, tmp_path: Path) -> None:
    """Two cuts, one of them in the data set's ids, against a count over their pixels."""
    codes = tiny.data("infer").parent
    for name, threshold, ids in (("one", 0, "train"), ("two", 0.3, "train")):
        call_json("cut", codes, "--threshold", threshold, "--ids", ids, "--out", tmp_path / name, "-q")
    result = call_json("diff", tmp_path / "one", tmp_path / "two")
    files = sorted((tmp_path / "one" / "labels").rglob("*.png"))
    pairs = [(f, tmp_path / "two" / f.relative_to(tmp_path / "one")) for f in files]
    old, new = (np.stack([np.array(Image.open(pair[i])) for pair in pairs]) for i in (0, 1))
    assert result["images"] == len(files) == 5
    assert result["same"] == np.mean(old == new)
    flips = {(row["before"], row["after"]): row["pixels"] for row in result["flips"]}
    names = json.loads((tmp_path / "one" / "classes.json").read_text())["names"]
    wanted = {}
    for a, b in zip(old[old != new].tolist(), new[old != new].tolist(), strict=True):
        key = tuple("ignored" if v == 255 else names[v] for v in (a, b))
        wanted[key] = wanted.get(key, 0) + 1
    assert flips == wanted
    changed = [row["changed"] for row in result["images_changed_most"]]
    assert changed == sorted(np.mean(old != new, axis=(1, 2)), reverse=True)
    same = call("diff", tiny.data("label").parent, tiny.data("label"))
    assert same.exit_code == 0, same.output
    assert "unchanged      100.00 % of the pixels" in same.stdout
    assert call("diff", tmp_path / "one", tmp_path).exit_code == 3
    other = json.loads((tmp_path / "two" / "classes.json").read_text())
    other["names"][0] = "street"
    (tmp_path / "two" / "classes.json").write_text(json.dumps(other))
    result = call("diff", tmp_path / "one", tmp_path / "two")
    assert result.exit_code == 3
    assert "has other classes than" in result.stderr
