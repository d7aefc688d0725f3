"""`init --teacher`: images and predictions of another framework become labels, without an experiment by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.stages.tiny_pipeline import call, call_json

NAMES = ("road", "car", "bus")
SIZE = (20, 30)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def images(root: Path) -> dict[str, np.ndarray]:
    """Images without any mask, and a class file."""
    rng = np.random.default_rng(0)
    found = {name: rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for name in ("a", "front cam/straße", "c")}
    for name, pixels in found.items():
        file = root / "images" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    (root / "classes.toml").write_text(f"names = {list(NAMES)}")
    return found


def init(root: Path, teacher: Path, out: Path, *settings: str) -> tuple[int, str]:
    options = [word for setting in settings for word in ("--set", f"teacher.foreign.{setting}")]
    result = call("init", "--source", "folder", "--root", root, "--teacher", teacher, "--out", out, *options)
    return result.exit_code, result.output


def labels(file: Path, work: Path, threshold: float = 0.5) -> dict[str, np.ndarray]:
    """The label maps of a run, by the names of the images."""
    options = ("--work", work, "-q", "--set", f"label.threshold={threshold}", "--set", "label.coarse='off'")
    made = call_json("run", file, *options, "--until", "label")["labels"]
    folder = Path(made["path"]) / "labels"
    return {
        file.relative_to(folder).with_suffix("").as_posix(): np.array(Image.open(file))
        for file in folder.rglob("*.png")
    }


def thresholded(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """(H, W) the most probable class of (K, H, W), 255 where it is not above the threshold."""
    return np.where(probabilities.max(axis=0) > threshold, probabilities.argmax(axis=0), 255)


def test_a_folder_of_probabilities(tmp_path: Path) -> None:
    root, arrays, file = tmp_path / "data", tmp_path / "arrays", tmp_path / "x.toml"
    rng = np.random.default_rng(1)
    wanted = {name: rng.dirichlet([0.4] * 3, SIZE).transpose(2, 0, 1).astype(np.float32) for name in images(root)}
    for name, array in wanted.items():
        (arrays / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez(arrays / f"{name}.npz", array)
    assert init(root, arrays, file) == (
        2,
        'autolabel: teacher.foreign.values: is missing; say "probabilities" or "logits"\n',
    )
    assert not file.exists()
    code, said = init(root, arrays, file, "values=probabilities", "layout=CHW")
    assert code == 0, said
    assert f"next: autolabel run {file} --until label" in said
    for threshold in (0.5, 0.7):
        found = labels(file, tmp_path / "work", threshold)
        assert set(found) == set(wanted)
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], thresholded(array, threshold), name)
    assert "there are no masks" in call("check-data", file, "-q").stdout
    (arrays / "c.npz").unlink()
    code, said = init(root, arrays, tmp_path / "y.toml", "values=probabilities")
    assert (code, "has no array for 1 of 3 images, the first 'c'; write c.npz" in said) == (3, True)


def test_a_folder_of_logits(tmp_path: Path) -> None:
    """Float16 with the classes last, as TensorFlow writes them; the layout shows in the shape."""
    root, arrays, file = tmp_path / "data", tmp_path / "arrays", tmp_path / "x.toml"
    rng = np.random.default_rng(4)
    stored = {name: rng.normal(0, 3, (*SIZE, 3)).astype(np.float16) for name in images(root)}
    for name, array in stored.items():
        (arrays / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(arrays / f"{name}.npz", logits=array, another=array[:1])
    code, said = init(root, arrays, file, "values=logits")
    assert code == 0, said
    found = labels(file, tmp_path / "work", 0.7)
    assert set(found) == set(stored)
    for name, array in stored.items():
        powers = np.exp(array.astype(np.float64)).transpose(2, 0, 1)
        np.testing.assert_array_equal(found[name], thresholded(powers / powers.sum(axis=0), 0.7), name)


def test_an_onnx_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    root, model, file = tmp_path / "data", tmp_path / "model.onnx", tmp_path / "x.toml"
    wanted = images(root)
    weights = np.random.default_rng(3).normal(0, 2, (3, 3)).astype(np.float32)
    make, tensor = onnx.helper, onnx.TensorProto.FLOAT
    values = [make.make_tensor_value_info(name, tensor, [1, 3, "h", "w"]) for name in ("x", "y")]
    weight = onnx.numpy_helper.from_array(weights[:, :, None, None], "w")
    graph = make.make_graph([make.make_node("Conv", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weight])
    proto = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9)
    model.write_bytes(proto.SerializeToString())
    code, said = init(root, model, file, "values=logits")
    assert (code, "set teacher.foreign.mean and teacher.foreign.std" in said) == (2, True)
    code, said = init(root, model, file, "values=logits", f"mean={list(MEAN)}", f"std={list(STD)}")
    assert code == 0, said
    for name, found in labels(file, tmp_path / "work").items():
        pixels = (wanted[name] / 255.0 - MEAN) / STD
        powers = np.exp(np.einsum("kc,hwc->khw", weights.astype(np.float64), pixels))
        np.testing.assert_array_equal(found, thresholded(powers / powers.sum(axis=0), 0.5), name)


def test_a_network_that_is_asked_by_text(tmp_path: Path) -> None:
    """SAM 3, tiny: the folder alone is the teacher; labels are its probabilities by threshold."""
    import torch

    from autolabel.models import network_from_bytes, normalise
    from tests.helpers.hf_folders import save_sam3

    root, model, file = tmp_path / "data", save_sam3(tmp_path / "sam3"), tmp_path / "x.toml"
    wanted = images(root)
    command = ("init", "--source=folder", "--root", root, "--teacher", model, "--out", file)
    said = call(*command, "--set", "teacher.foreign.values=logits").stderr
    assert "a Hugging Face model takes teacher.class_map alone" in said
    said = call(*command, "--set", 'teacher.class_map={"a tram" = "tram"}').stderr
    assert "'tram' is no class of the experiment" in said
    table = '{"a red car" = "car", "light" = ""}'
    result = call(*command, "--set", f"teacher.class_map={table}")
    assert result.exit_code == 0, result.output
    (tmp_path / "sam3" / "tokenizer.json").rename(tmp_path / "kept")
    assert "holds no tokenizer.json" in call("run", file, "--work", tmp_path / "work", "-q", "--until=label").stderr
    (tmp_path / "kept").rename(tmp_path / "sam3" / "tokenizer.json")
    found = labels(file, tmp_path / "work", 0.3)
    (weights,) = (tmp_path / "work").rglob("*.safetensors")
    network, card = network_from_bytes(weights.read_bytes(), "w")
    counts = set()
    for name, pixels in wanted.items():
        batch = normalise(torch.from_numpy(pixels[None]), card.mean, card.std)
        with torch.inference_mode():
            probabilities = network.probabilities(batch)[0].numpy()
        np.testing.assert_array_equal(found[name], thresholded(probabilities[:-1], 0.3), name)
        counts |= set(np.unique(found[name]))
    assert 255 in counts
    assert len(counts) > 2, "labels worth comparing"


def test_what_is_refused(tmp_path: Path) -> None:
    root, arrays, file = tmp_path / "data", tmp_path / "arrays", tmp_path / "x.toml"
    images(root)
    arrays.mkdir()
    assert init(root, tmp_path / "none", file)[1].startswith("autolabel: --teacher: ")
    assert "--teacher says kind and path" in init(root, arrays, file, "path=x")[1]
    command = ("init", "--source", "folder", "--root", root, "--out", file)
    assert "--teacher is not trained" in call(*command, "--teacher", arrays, "--minutes", 5).stderr
    assert "set data.masks" in call(*command).stderr, "masks are needed where a teacher is trained"
    (root / "masks").mkdir()
    code, said = init(root, arrays, file, "values=logits")
    assert (code, "has no array for 3 of 3 images" in said) == (3, True), "an empty folder of masks is as good as none"
    assert not file.exists()


@pytest.mark.parametrize("case", ["empty folder", "masks of val", "named folder"])
def test_masks_that_no_training_image_has(tmp_path: Path, case: str) -> None:
    """Masks may be missing, and those that are there are used: for validation."""
    root, arrays, file = tmp_path / "data", tmp_path / "arrays", tmp_path / "x.toml"
    rng = np.random.default_rng(2)
    (root / "classes.toml").parent.mkdir()
    (root / "classes.toml").write_text(f"names = {list(NAMES)}")
    masks = root / ("gt" if case == "named folder" else "masks")
    masks.mkdir()
    for name in ("train/a", "train/b", *(["val/c"] if case != "empty folder" else [])):
        for folder in (root / "images", arrays, masks):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(root / "images" / f"{name}.png")
        np.savez(arrays / f"{name}.npz", rng.dirichlet([0.4] * 3, SIZE).transpose(2, 0, 1).astype(np.float32))
    if case != "empty folder":
        Image.fromarray(rng.integers(0, 3, SIZE, dtype=np.uint8)).save(masks / "val" / "c.png")
    named = ("--set", "data.masks=gt") if case == "named folder" else ()
    settings = ("--set", "teacher.foreign.values=probabilities")
    result = call("init", "--source=folder", "--root", root, "--teacher", arrays, "--out", file, *settings, *named)
    assert result.exit_code == 0, result.output
    stop = " --until label" if case == "empty folder" else ""
    assert f"next: autolabel run {file}{stop}\n" in result.stdout
    options = ("--work", tmp_path / "work", "-q", "--until", "label" if stop else "evaluate-teacher")
    summary = call_json("run", file, *options)
    assert ("teacher_miou" in summary) == (not stop)
