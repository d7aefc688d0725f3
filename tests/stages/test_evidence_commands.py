"""`thresholds`, `why` and `diff` on a real run."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from autolabel.cli.options import open_project
from autolabel.cli.why import PixelLives, image_named
from autolabel.data.loaders import load_label
from autolabel.data.manifest import Manifest
from autolabel.errors import ConfigError
from autolabel.formats.corrections import Correction, corrected, corrections_files
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
    "infer.edges=[0.113, 0.115, 0.117, 0.119, 0.121, 0.123, 0.126, 0.13, 0.5]",
    "infer.second_below=0.121",
    "label.threshold=0.117",
    "label.class_thresholds={road=0.119, car=0.115}",
)
BY_CLASS = (
    "label.coarse=trust",
    "label.coarse_classes={road='fill', sky='agree', building='off'}",
    "label.coarse_sets={sky=['sky', 'building']}",
    "label.coarse_border=1",
)
POLICIES = {policy: (f"label.coarse={policy}",) for policy in ("fill", "veto", "off")} | {"by class": BY_CLASS}
PIXELS = 1000 // len(POLICIES)


class Seen(NamedTuple):
    """All that decides about the pixels of an image; maps (H, W)."""

    codes: np.ndarray
    coarse: np.ndarray
    corrections: np.ndarray


def policy_of(kind: str, name: str) -> str:
    special = {"road": "fill", "sky": "agree", "building": "off"}
    return kind if kind != "by class" else special.get(name, "trust")


def decide(kind: str, names: Sequence[str], image: Seen, x: int, y: int, winner: int, above: bool) -> tuple[int, str]:
    """Label and outcome of a pixel, in the words of docs/labelling.md."""
    drawn, own = int(image.coarse[y, x]), names[winner]
    policy = "off" if drawn == 255 else policy_of(kind, names[drawn])
    allowed = ["sky", "building"] if kind == "by class" and drawn != 255 and names[drawn] == "sky" else None
    inside = own in (allowed or [names[drawn]]) if drawn != 255 else False
    if policy == "fill":
        label, outcome = drawn, "filled"
    elif not above:
        label, outcome = (winner, "confirmed") if policy == "trust" and inside else (255, "low_confidence")
    elif policy == "off":
        label, outcome = (255, "unconfirmed") if policy_of(kind, own) == "agree" else (winner, "kept")
    else:
        label, outcome = (winner, "kept") if inside else (255, "veto")
    if kind == "by class" and label != 255 and on_border(image.coarse, names, x, y):
        return 255, "border"
    return label, outcome


def on_border(coarse: np.ndarray, names: Sequence[str], x: int, y: int) -> bool:
    """Whether a neighbour of a pixel of a polygon has another value; polygons of `off` classes count for nothing."""

    def value(r: int, c: int) -> int:
        drawn = int(coarse[r, c])
        return 255 if drawn != 255 and names[drawn] == "building" else drawn

    height, width = coarse.shape
    near = [(r, c) for r in range(y - 1, y + 2) for c in range(x - 1, x + 2) if 0 <= r < height and 0 <= c < width]
    return value(y, x) != 255 and any(value(r, c) != value(y, x) for r, c in near)


def write_corrected(folder: Path, manifest: Manifest, labels: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A folder of corrections of every image; the corrected maps, 254 where they change nothing."""
    found = []
    for row in manifest.labels:
        before = np.array(Image.open(labels / row.path))
        after = np.where(rng.random(before.shape) < 0.3, rng.choice([0, 2, 255], before.shape), before)
        mask = corrected(before, after.astype(np.uint8), keep_uncovered=False)
        found.append(Correction(row.image_id, mask, "ada", "2026-01-02T03:04:05"))
    source = {"format": "review", "file": "none", "sha256": "0" * 64}
    for name, data in corrections_files(found, manifest.classes.names, "0" * 64, source):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return {correction.image_id: correction.labels for correction in found}


@pytest.mark.slow
@pytest.mark.parametrize("kind", POLICIES)
def test_why(tiny: Tiny, kind: str, tmp_path: Path) -> None:
    """Random pixels against a recomputation from the files; the same after the teacher's folder is gone."""
    options = [*OPTIONS, *POLICIES[kind]]
    told = [f"--set={option}" for option in options]
    call_json("run", tiny.file, "--work", tiny.work, "-q", "--until", "label", *told)
    labels = Path(tiny.states(*told)["label"]["path"]) / "data"
    manifest = Manifest.from_files(lambda name: (labels / name).read_bytes())
    rng = np.random.default_rng(0)
    masks = write_corrected(tmp_path / "corrections", manifest, labels, rng)
    options.append(f"fuse.corrections='{tmp_path / 'corrections'}'")
    told = [f"--set={option}" for option in options]
    shown = call_json("run", tiny.file, "--work", tiny.work, "-q", "--until", "fuse", *told)
    steps = tiny.states(*told)
    fused = Path(steps["fuse"]["path"]) / "data"
    assert fused.is_dir()
    assert "labels" in shown
    codes = Path(steps["infer"]["path"]) / "data"
    data = Manifest.from_files(lambda name: (tiny.data("manifest") / name).read_bytes())
    names, images = data.classes.names, {}
    for file in sorted(codes.glob("*.h5")):
        shard = read_shard(file)
        book = shard.book
        for image_id in shard.ids:
            drawn, known = data.label(image_id, "coarse"), image_id in masks
            empty = np.full(shard.codes(image_id).shape, 255, np.uint8)
            coarse = load_label(drawn, {"data": tiny.data("manifest")}, data.classes) if drawn else empty
            if known:
                images[image_id] = Seen(shard.codes(image_id), coarse, masks[image_id])
    project = open_project(tiny.file, work=tiny.work, overrides=tuple(options))
    places, wanted = [], []
    for image_id, image in images.items():
        for _ in range(PIXELS // len(images)):
            y, x = (int(rng.integers(side)) for side in image.codes.shape)
            cell, second = divmod(int(image.codes[y, x]), len(names) + 1)
            winner, place = divmod(cell, book.bins)
            low, high = [0, *book.edges, 1][place : place + 2]
            threshold = {"road": 0.119, "car": 0.115}.get(names[winner], 0.117)
            label, outcome = decide(kind, names, image, x, y, winner, low >= threshold)
            fix = int(image.corrections[y, x])
            wanted.append(
                {
                    "class": names[winner],
                    "above": low,
                    "at_most": high,
                    "second": names[second] if second < len(names) else None,
                    "coarse": names[image.coarse[y, x]] if kind != "off" and image.coarse[y, x] != 255 else None,
                    "threshold": threshold,
                    "outcome": outcome,
                    "label": names[label] if label != 255 else None,
                    "keeps_up_to": low if outcome == "low_confidence" else None,
                    "drops_from": high if outcome == "kept" and high < 1 else None,
                    "corrected": None if fix == 254 else {"label": names[fix] if fix != 255 else None, "author": "ada"},
                }
            )
            places.append((image_id, x, y))
    assert len(places) == PIXELS

    def told_of_all() -> list[dict]:
        lives = PixelLives(project)
        found = [lives.of(*place) for place in places]
        for life in found:
            fix = life["corrected"]
            life["corrected"] = fix and {key: fix[key] for key in ("label", "author")}
            assert fix is None or Path(fix["labels"]).is_relative_to(fused)
        return [{key: life[key] for key in wanted[0]} for life in found]

    assert told_of_all() == wanted
    outcomes = {life["outcome"] for life in wanted}
    special = {"fill": {"filled"}, "veto": {"veto"}, "off": set(), "by class": {"filled", "border"}}[kind]
    assert outcomes >= {"low_confidence", *special}
    with gone(tiny, steps, labels.parent):
        assert told_of_all() == wanted


@contextmanager
def gone(tiny: Tiny, steps: dict[str, dict], labels: Path) -> Iterator[None]:
    """Without the teacher, and with one label set only."""
    others = [path for path in (tiny.work / "artefacts" / "label").iterdir() if path != labels]
    moved = {path: tiny.folder / f"gone-{path.name}" for path in (Path(steps["teacher"]["path"]), *others)}
    for path, place in moved.items():
        path.rename(place)
    try:
        yield
    finally:
        for path, place in moved.items():
            place.rename(path)


@pytest.mark.slow
def test_why_takes_a_bare_file_name(tiny: Tiny) -> None:
    data = Manifest.from_files(lambda name: (tiny.data("label") / name).read_bytes())
    image = data.labels[0].image_id
    file = data.image(image).path
    for name in (file, Path(file).name):
        assert call_json("why", tiny.file, name, "3,4", "--work", tiny.work)["image"] == image


def test_a_name_of_several_images_lists_them() -> None:
    files = {"a/1": "x/a/1.png", "b/1": "x/b/1.png", "b/2": "x/b/2.png"}
    assert image_named("2", files) == image_named("2.png", files) == image_named("x/b/2.png", files) == "b/2"
    assert image_named("b/1", files) == "b/1"
    with pytest.raises(ConfigError, match=r"IMAGE: '1.png' is the name of 2 images: a/1, b/1; give one of these"):
        image_named("1.png", files)
    with pytest.raises(ConfigError, match="did you mean 'b/2'"):
        image_named("b/22", files)


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
