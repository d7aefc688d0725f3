"""Labels that hold nothing to learn from are named before the first training step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.experiments import experiment_toml
from tests.stages.tiny_pipeline import TINY, call


def experiment(folder: Path, values: tuple[int, ...]) -> Path:
    """Six images; the masks hold these values in stripes."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / "data" / name).mkdir(parents=True)
    for number in range(6):
        image = rng.integers(0, 256, (48, 80, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "data" / "images" / f"{number}.png")
        mask = np.resize(np.array(values, np.uint8), (48, 80))
        Image.fromarray(mask).save(folder / "data" / "masks" / f"{number}.png")
    (folder / "data" / "classes.toml").write_text('names = ["lawn", "path", "shed"]\n')
    file = folder / "x.toml"
    data = dict.fromkeys(TINY["data"]) | {"source": "folder", "root": str(folder / "data"), "val_share": 0.0}
    file.write_text(experiment_toml(TINY, data=data, teacher={"class_uniform": 0.0}))
    return file


def test_labels_without_a_class(tmp_path: Path) -> None:
    file = experiment(tmp_path, (255,))
    result = call("run", file, "--work", tmp_path / "work", "-q", "--until", "teacher")
    assert result.exit_code == 3
    [line] = result.stderr.splitlines()
    assert "are ignored" in line
    assert not list((tmp_path / "work" / "artefacts").glob("teacher/*/COMMIT"))


def test_a_class_without_a_pixel_is_named(tmp_path: Path) -> None:
    file = experiment(tmp_path, (0, 1, 255))
    file.write_text(file.read_text().replace("[data]\n", '[data]\nconfirmed = ["shifted_ids"]\n'))
    result = call("run", file, "--work", tmp_path / "work", "--until", "teacher")
    assert result.exit_code == 0, result.stderr
    assert "teacher: no training pixel has the class shed: it cannot be learnt" in result.stderr
