"""Teachers of other frameworks, from arrays and ONNX files: their codes against numpy, and refusals in one line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autolabel.artifacts import read_manifest, read_quarantine, read_shard_index, write_quarantine
from autolabel.config.load import load_experiment
from autolabel.config.networks import ForeignConfig, TeacherConfig
from autolabel.data.decode import decode_image
from autolabel.errors import ConfigError, UnreadableImage
from autolabel.labels.shards import read_shard
from autolabel.models.weights_file import EXPORTED_CARD
from autolabel.stages import infer
from autolabel.stages.foreign import check_foreign
from autolabel.store import Artefact, open_draft
from tests.helpers.experiments import ONE_CORE, experiment_toml, scenes
from tests.stages.tiny_pipeline import TRAINING, call, call_json

onnx = pytest.importorskip("onnx")
SIZE = (24, 40)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


class Experiment:
    """Synthetic scenes whose teacher is a convolution of one pixel, which numpy computes, too."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.work = folder, folder / "x.toml", folder / "work"
        self.settings = {
            "data": scenes(*SIZE, fine=2, coarse=3, val=2),
            "infer": {"scales": [1.0], "chunk": 2},
            "student": TRAINING,
            "runtime": ONE_CORE,
        }
        self.file.write_text(experiment_toml(self.settings))
        call_json("manifest", self.file, "--work", self.work, "-q")
        self.manifest = Artefact.open(next((self.work / "artefacts/manifest").iterdir()))
        self.names = read_manifest(self.manifest).classes.names
        generator = np.random.default_rng(3)
        self.weights = generator.normal(0, 2, (len(self.names), 3)).astype(np.float32)

    def teach(self, foreign: dict, **teacher: object) -> None:
        self.file.write_text(experiment_toml(self.settings, teacher={"epochs": 0, **teacher, "foreign": foreign}))

    def run(self, until: str) -> tuple[int, str]:
        result = call("run", self.file, "--work", self.work, "-q", "--until", until)
        return result.exit_code, result.stderr

    def logits(self) -> dict[str, np.ndarray]:
        """(K, H, W) by image id."""
        found = {}
        for row in read_manifest(self.manifest).images:
            image = decode_image((self.manifest.data / row.path).read_bytes(), where=row.path, max_pixels=10**6)
            pixels = (image / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
            found[row.id] = np.einsum("kc,hwc->khw", self.weights, pixels.astype(np.float32))
        return found

    def model(self, **metadata: str) -> Path:
        helper, tensor = onnx.helper, onnx.TensorProto.FLOAT
        nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
        values = [helper.make_tensor_value_info(n, tensor, [1, k, "h", "w"]) for n, k in (("x", 3), ("y", "k"))]
        weight = onnx.numpy_helper.from_array(self.weights[:, :, None, None], "w")
        graph = helper.make_graph(nodes, "g", values[:1], values[1:], [weight])
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.helper.set_model_props(proto, metadata)
        (self.folder / "model.onnx").write_bytes(proto.SerializeToString())
        return self.folder / "model.onnx"

    def arrays(self, change: object = None, **changed: object) -> Path:
        """A folder of probability arrays in float16."""
        folder = self.folder / "arrays"
        for image_id, logits in self.logits().items():
            exp = np.exp(logits - logits.max(axis=0))
            array = (exp / exp.sum(axis=0)).astype(np.float16)
            file = folder / f"{image_id}.npz"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, change(array) if callable(change) else array)
        return folder

    def codes(self) -> dict[str, np.ndarray]:
        made = Artefact.open(Path(self.step("infer")["path"]))
        shards = [read_shard(made.read(shard.name)) for shard in read_shard_index(made).shards]
        return {image_id: shard.codes(image_id) for shard in shards for image_id in shard.ids}

    def step(self, name: str) -> dict:
        steps = call_json("status", self.file, "--work", self.work)["stages"]
        found: dict = next(row for row in steps if row["name"] == name)
        return found


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


def check_codes(experiment: Experiment, tolerance: float) -> None:
    """Class and bin of every pixel, but for pixels within `tolerance` of an edge or a tie."""
    made = Artefact.open(Path(experiment.step("infer")["path"]))
    book = read_shard_index(made).book
    reference = experiment.logits()
    found = experiment.codes()
    assert len(found) == 5
    for image_id, codes in found.items():
        logits = reference[image_id].astype(np.float64)
        exp = np.exp(logits - logits.max(axis=0))
        p = exp / exp.sum(axis=0)
        first, second = np.sort(p, axis=0)[-1], np.sort(p, axis=0)[-2]
        near = np.min([abs(first - edge) for edge in book.edges], axis=0) < tolerance
        clear = ~near & (first - second > tolerance)
        classes, bins = book.classes_and_bins(codes)
        assert clear.mean() > 0.8
        assert (classes == p.argmax(axis=0))[clear].all()
        assert (bins == sum((first > edge).astype(int) for edge in book.edges))[clear].all()


@pytest.mark.slow
def test_an_onnx_teacher_goes_all_the_way(experiment: Experiment) -> None:
    foreign = {"kind": "onnx", "path": str(experiment.model()), "values": "logits", "mean": MEAN, "std": STD}
    experiment.teach({**foreign, "mean": list(MEAN), "std": list(STD)})
    assert experiment.run("audit") == (0, "")
    assert experiment.run("evaluate-teacher") == (0, "")
    check_codes(experiment, 1e-4)
    assert experiment.step("teacher")["state"] == "fresh"


@pytest.mark.slow
def test_the_card_of_an_onnx_file_states_the_pre_processing(experiment: Experiment) -> None:
    card = {"mean": MEAN, "std": STD, "class_names": experiment.names}
    experiment.teach({"kind": "onnx", "path": str(experiment.model(**{EXPORTED_CARD: json.dumps(card)}))})
    assert experiment.run("infer") == (0, "")
    check_codes(experiment, 1e-4)


@pytest.mark.parametrize(
    ("theirs", "class_map", "refused"),
    [
        (["lane", "air"], {"lane": "road"}, None),
        (["lane", "air"], {}, "none of its 2 classes"),
        (["lane", "air"], {"nowhere": "road"}, "class_map: 'nowhere' is no class of the network"),
        (None, {"lane": "road"}, "class_map: 'lane' is no class of the network"),
    ],
)
def test_the_classes_of_the_card_are_checked_before_the_run(
    tmp_path: Path, theirs: list[str] | None, class_map: dict, refused: str | None
) -> None:
    """`class_map` may name a class that only the card has; a card without any of our classes is refused at once."""
    card = {"mean": MEAN, "std": STD, **({"class_names": theirs} if theirs else {})}
    made: Any = SimpleNamespace(folder=tmp_path, weights=np.ones((2, 3), np.float32))
    foreign = ForeignConfig(kind="onnx", path=Experiment.model(made, **{EXPORTED_CARD: json.dumps(card)}))
    settings = TeacherConfig(epochs=0, class_map=class_map, foreign=foreign)
    ahead: Any = SimpleNamespace(
        settings=settings, data=SimpleNamespace(classes=SimpleNamespace(names=["road", "sky"]))
    )
    if refused is None:
        check_foreign(ahead)
        return
    with pytest.raises(ConfigError, match=refused):
        check_foreign(ahead)


@pytest.mark.slow
@pytest.mark.parametrize("change", [None, lambda a: np.moveaxis(a, 0, 2), lambda a: a.astype(np.float32)])
def test_arrays_of_any_layout(experiment: Experiment, change: object) -> None:
    experiment.teach({"kind": "arrays", "path": str(experiment.arrays(change)), "values": "probabilities"})
    assert experiment.run("label") == (0, "")
    check_codes(experiment, 2e-3)


def test_an_image_that_the_teacher_cannot_label_is_not_tried_on_every_run(experiment: Experiment) -> None:
    folder = experiment.arrays()
    image = next(row.id for row in read_manifest(experiment.manifest).images if row.split == "val")
    np.savez(folder / f"{image}.npz", np.full((len(experiment.names), *SIZE), np.nan, np.float16))
    experiment.settings["data"] = {**experiment.settings["data"], "max_bad": 1}
    experiment.teach({"kind": "arrays", "path": str(folder), "values": "probabilities"})
    for _ in range(2):
        assert experiment.run("infer")[0] == 5
        (made,) = (experiment.work / "artefacts/infer").iterdir()
        (row,) = read_quarantine(Artefact.open(made))
        assert (row["id"], row["cause"]) == (image, "teacher")


def test_an_image_whose_file_was_the_cause_is_tried_again(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = read_manifest(experiment.manifest).images[0]
    draft = open_draft(experiment.folder, "0" * 64)
    cause = UnreadableImage(row.path, "changed since the manifest was built")
    write_quarantine(draft, [infer._quarantined(row.id, row.path, cause)])
    made = draft.commit(meta={}, provenance={})
    settings = load_experiment(experiment.file)
    assert infer.can_retry(settings, {"data": experiment.manifest}, made)
    monkeypatch.setattr(infer, "load_unchanged", fails)
    assert not infer.can_retry(settings, {"data": experiment.manifest}, made)


def fails(row: object, **options: object) -> None:
    raise UnreadableImage("x", "is damaged")


REFUSED = {
    "values": ({"kind": "arrays"}, 2, 'teacher.foreign.values: is missing; say "probabilities" or "logits"'),
    "normalised": ({"kind": "onnx", "values": "logits"}, 2, "does not say how its images are normalised"),
    "no model": ({"kind": "onnx", "values": "logits", "path": "nowhere"}, 3, "cannot be read"),
    "no folder": ({"kind": "arrays", "values": "logits", "path": "nowhere"}, 3, "is no folder of arrays"),
    "classes": ({"kind": "arrays", "values": "logits", "classes": ["a", "b"]}, 2, "none of its 2 classes"),
    "logits": (
        {"kind": "onnx", "values": "probabilities", "mean": [0, 0, 0], "std": [1, 1, 1]},
        3,
        "",
    ),
}


@pytest.mark.slow
def test_what_is_refused(experiment: Experiment) -> None:
    paths = {"onnx": experiment.model(), "arrays": experiment.arrays()}
    for name, (foreign, code, said) in REFUSED.items():
        numbers = {key: [float(x) for x in foreign[key]] for key in ("mean", "std") if key in foreign}
        experiment.teach({"path": str(paths[foreign["kind"]]), **foreign, **numbers})
        found = experiment.run("infer")
        assert (found[0], len(found[1].splitlines())) == (code, 1), (name, found)
        assert said in found[1], name
    experiment.teach({"path": str(paths["onnx"]), "kind": "onnx", "values": "logits"}, lr=1.0)
    paths["onnx"].write_bytes(b"\x08\x09 no model")
    assert "cannot be opened by ONNX Runtime" in experiment.run("infer")[1]
