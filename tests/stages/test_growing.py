"""Images are added, removed, renamed and edited: infer computes new ones only, with the bytes of a run from nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.artifacts import read_shard_index
from autolabel.data.schema import ImageRow
from autolabel.stages.chunk_scheduler import split_rows
from autolabel.stages.known_codes import other_environment
from autolabel.store import Artefact
from tests.helpers.experiments import experiment_toml
from tests.helpers.hang import HANG_SECONDS
from tests.stages.tiny_pipeline import TRAINING, call, call_json

NUMBER = 30  # of images without a mask
SETTINGS = {
    "name": "grow",
    "teacher": TRAINING,
    "infer": {"scales": [1.0], "chunk": 4},
    "student": TRAINING,
    "runtime": {"threads": 1, "jobs": 1, "device": "cpu"},
}


class Growing:
    """A folder of tiny images; six have masks, two of these are held out."""

    def __init__(self, folder: Path) -> None:
        self.root, self.file, self.work = folder / "data", folder / "x.toml", folder / "work"
        for name in ("images", "masks"):
            (self.root / name).mkdir(parents=True)
        (self.root / "classes.toml").write_text('names = ["lawn", "path"]\n')
        for number in range(6):
            self.put(f"fine {number}", 1000 + number)
            self.mask(f"fine {number}")
        for number in range(NUMBER):
            self.put(f"m{number:03}", number)
        table = {"source": "folder", "root": str(self.root), "val_share": 0.3}
        self.file.write_text(experiment_toml(SETTINGS, data={**table, "seed": None}))

    def path(self, name: str) -> Path:
        return self.root / f"images/{name}.png"

    def put(self, name: str, seed: int) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(self.path(name))

    def mask(self, name: str) -> None:
        mask = np.zeros((32, 48), np.uint8)
        mask[:, 24:] = 1
        Image.fromarray(mask).save(self.root / f"masks/{name}.png")

    def run(self, work: Path, until: str, *options: str) -> Artefact:
        call_json("run", self.file, "--work", work, "-q", "--until", until, *options)
        return self.made(work, until, *options)

    def made(self, work: Path, step: str, *options: str) -> Artefact:
        steps = call_json("status", self.file, "--work", work, *options)["stages"]
        return Artefact.open(Path(next(row["path"] for row in steps if row["name"] == step)))

    def why(self) -> dict[str, list[str]]:
        steps = call_json("status", self.file, "--work", self.work, "--why")["stages"]
        return {row["name"]: row["why"] for row in steps}

    def from_nothing(self, folder: Path, *options: str) -> str:
        """The root digest of an infer that knows no earlier codes, with the same teacher."""
        shutil.copytree(self.work / "artefacts/teacher", folder / "artefacts/teacher")
        digest = self.run(folder, "infer", *options).digest
        shutil.rmtree(folder)
        return digest


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Growing:
    data = Growing(tmp_path_factory.mktemp("growing"))
    data.run(data.work, "infer")
    return data


@pytest.fixture
def data(grown: Growing, tmp_path: Path) -> Growing:
    """A copy of its own."""
    copy = Growing.__new__(Growing)
    copy.root, copy.file, copy.work = tmp_path / "data", tmp_path / "x.toml", tmp_path / "work"
    shutil.copytree(grown.root, copy.root)
    shutil.copytree(grown.work, copy.work)
    copy.file.write_text(grown.file.read_text().replace(str(grown.root), str(copy.root)))
    return copy


def numbers(artefact: Artefact) -> dict[str, int]:
    images: dict[str, int] = artefact.provenance["images"]
    return images


def rename(data: Growing) -> None:
    data.path("m007").rename(data.path("zz new name"))


def remove(data: Growing) -> None:
    for name in ("m000", "m015", "m029"):
        data.path(name).unlink()


CHANGES: list[tuple[str, Callable[[Growing], None], int]] = [
    ("1 image added", lambda data: data.put("a first", 2001), 1),
    ("1 image added", lambda data: data.put("m0155", 2002), 1),
    ("1 image added", lambda data: data.put("zzz", 2003), 1),
    ("1 image added, 1 image removed", rename, 0),
    ("1 image changed", lambda data: data.put("m012", 2004), 1),
    ("3 images removed", remove, 0),
    ("1 image added", lambda data: data.put("m015", 15), 0),  # back from the first state
]


@pytest.mark.slow
def test_only_new_images_are_computed_at_any_place(data: Growing, tmp_path: Path) -> None:
    teacher = data.made(data.work, "teacher").path
    for said, change, computed in CHANGES:
        change(data)
        why = data.why()["manifest"]
        assert why[0] == said
        assert "these stay: teacher, evaluate-teacher" in why[1]
        infer = data.run(data.work, "infer")
        assert numbers(infer)["computed"] == computed, said
        assert infer.digest == data.from_nothing(tmp_path / "nothing"), said
    assert data.made(data.work, "teacher").path == teacher
    assert infer.meta["to_label"] == NUMBER + 1


@pytest.mark.slow
def test_another_chunk_size_takes_the_codes_that_are_there(data: Growing, tmp_path: Path) -> None:
    options = ("--set", "infer.chunk=5")
    infer = data.run(data.work, "infer", *options)
    assert numbers(infer) == {"computed": 0, "known": NUMBER + 2}
    assert infer.digest == data.from_nothing(tmp_path / "nothing", *options)
    assert numbers(data.run(data.work, "infer", "--set", "infer.flip=true"))["known"] == 0, "other codes"


@pytest.mark.slow
def test_damaged_codes_are_computed_again(data: Growing, tmp_path: Path) -> None:
    made = data.made(data.work, "infer")
    victim = made.file("codes-00001.h5")
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    data.put("zzz", 2003)
    infer = data.run(data.work, "infer")
    held = next(shard.ids for shard in read_shard_index(made).shards if shard.name == victim.name)
    assert numbers(infer)["computed"] == 1 + len(held)
    assert infer.digest == data.from_nothing(tmp_path / "nothing")


@pytest.mark.slow
def test_a_killed_run_goes_on_and_a_grown_one_takes_what_it_left(data: Growing, tmp_path: Path) -> None:
    """SIGKILL while 10 new images are computed one by one; then one more image arrives, and so another key."""
    slowly = ("--set", "infer.chunk=1", "--set", "infer.scales=[1.0, 8.0]")
    shutil.rmtree(data.work / "artefacts/infer")
    for number in range(NUMBER - 20):
        data.path(f"m{number:03}").rename(tmp_path / f"m{number:03}.png")
    data.run(data.work, "infer", *slowly)
    for number in range(10):
        data.put(f"n{number:02}", 3000 + number)
    command = [sys.executable, "-m", "autolabel", "run", str(data.file), "--work", str(data.work), "-q"]
    process = subprocess.Popen([*command, "--until", "infer", *slowly], start_new_session=True)
    end = time.monotonic() + HANG_SECONDS
    while len(list(data.work.glob("artefacts/infer/*.partial/data/codes-*.h5"))) < 23:  # 20 of them are copies
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (left,) = data.work.glob("artefacts/infer/*.partial")
    done = left / "journal/shards"
    rows = done.read_bytes().count(b"\n")
    data.put("a first", 4000)
    infer = data.run(data.work, "infer", *slowly)
    assert numbers(infer)["computed"] == 31 - rows, "each image of a finished chunk was computed once"
    assert infer.digest == data.from_nothing(tmp_path / "nothing", *slowly)
    data.path("a first").unlink()
    again = data.run(data.work, "infer", *slowly)
    assert again.path.name == left.name.removesuffix(".partial"), "the draft that was killed is finished"
    assert numbers(again)["computed"] == rows - 20
    assert again.digest == data.from_nothing(tmp_path / "nothing", *slowly)


@pytest.mark.slow
def test_a_mask_retrains_and_may_start_from_the_old_weights(data: Growing) -> None:
    old = data.made(data.work, "teacher")
    data.mask("m003")
    why = data.why()["manifest"]
    assert why[:2] == ["1 fine mask added", "1 image removed"]
    assert why[2].startswith("these run again: teacher, infer, label")
    result = call("run", data.file, "--work", data.work, "--until", "teacher")
    assert "teacher: 1 fine mask added" in result.stderr
    remark = f"set teacher.weights = '{old.path}/data/weights.safetensors'"
    assert remark in result.stderr
    weights = f"teacher.weights={old.path}/data/weights.safetensors"
    teacher = data.run(data.work, "teacher", "--set", weights)
    assert teacher.path not in (old.path, data.made(data.work, "teacher").path)
    call_json("gc", data.file, "--work", data.work, "--set", weights)
    assert old.path.is_dir(), "the experiment starts from it"
    data.run(data.work, "teacher")
    call_json("gc", data.file, "--work", data.work)
    assert not old.path.is_dir()


def test_codes_of_another_environment_are_not_taken() -> None:
    old = {"versions": {"torch": "1"}, "device": "cpu A", "threads": 1}
    assert other_environment([old], [{**old, "threads": 2}]) == []
    assert other_environment([old], [{**old, "device": "cpu B"}]) == ["device cpu A -> cpu B"]
    assert other_environment([{**old, "versions": {"torch": "2"}}, old], [old]) == ["torch 2 -> 1"]


def row(name: str) -> ImageRow:
    return ImageRow(name, "train", "", "source", name, "0" * 64, 1, 1, 1)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 32])
def test_chunks_keep_their_images_when_others_come(size: int) -> None:
    rows = [row(f"{number:05}") for number in range(2000)]
    before = split_rows(rows, size)
    assert [one for chunk in before for one in chunk] == rows
    assert all(-(-size // 2) <= len(chunk) <= size for chunk in before[:-1])
    for place in range(0, 2001, 125):
        after = split_rows([*rows[:place], row(f"{place:05}+"), *rows[place:]], size)
        new = {tuple(chunk) for chunk in after} - {tuple(chunk) for chunk in before}
        assert len(new) <= 12, "an insertion changes the chunks near it"
