"""Training samples from files: against the published method, and in threads against processes."""

from __future__ import annotations

import hashlib
import io
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch.utils.data import DataLoader

from autolabel.classes import CLASS_SETS
from autolabel.config.networks import AugmentConfig, TrainConfig
from autolabel.data.augment import AugmentParams, draw_params
from autolabel.data.crops import CropDataset, batches
from autolabel.data.loaders import ManifestDataset
from autolabel.data.sampling import EpochSampler, plan_phases
from autolabel.data.schema import ImageRow, LabelRow
from autolabel.hardware import usable_cores
from autolabel.labels import png
from streetscenes import render

SIZE = CROP = (1024, 2048)
IMAGES, SAMPLES, BATCH = 3, 12, 4
FILL = (124, 116, 104)
CLASSES = CLASS_SETS["cityscapes"]


def measure(device: str, rounds: int) -> dict[str, float]:
    """Ratios of CPU time, theirs / ours; images per second of wall time, with one thread per usable core."""
    del device  # none of this runs on a GPU
    workers = usable_cores()
    with tempfile.TemporaryDirectory() as folder:
        crops = _crops(Path(folder))

        def stream() -> Iterable[object]:
            return batches(crops, start=0, stop=SAMPLES, batch=BATCH, workers=workers)

        def published() -> Iterable[object]:
            return (_published(crops, number) for number in range(SAMPLES))

        def processes() -> Iterable[object]:
            return DataLoader(_Tensors(crops), batch_size=BATCH, num_workers=workers, sampler=range(SAMPLES))  # type: ignore[arg-type]

        seconds = [[_seconds(make) for make in (published, processes, stream)] for _ in range(rounds)]
    return {
        "loader.time_ratio": statistics.median(row[0][0] / row[2][0] for row in seconds),
        "loader.processes_time_ratio": statistics.median(row[1][0] / row[2][0] for row in seconds),
        "loader.images_per_s": SAMPLES / statistics.median(row[2][1] for row in seconds),
        "loader.images_per_cpu_s": SAMPLES / statistics.median(row[2][0] for row in seconds),
        "loader.start_s": statistics.median(_seconds(_start)[1] for _ in range(rounds)),
    }


def _seconds(make: Callable[[], Iterable[object]]) -> tuple[float, float]:
    """Seconds of CPU time (ended processes included) and of wall time."""
    cpu, clock = _cpu(), time.perf_counter()
    for _ in make():
        pass
    return _cpu() - cpu, time.perf_counter() - clock


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _crops(folder: Path) -> CropDataset:
    pairs = ManifestDataset([_written(folder, index) for index in range(IMAGES)], {"source": folder}, CLASSES)
    counts = np.array([label.counts[:-1] for _, label in pairs.rows])
    return CropDataset(pairs, _sampler(counts, epoch_images=IMAGES), AugmentConfig(), CROP, TrainConfig().tile, FILL)


def _written(folder: Path, index: int) -> tuple[ImageRow, LabelRow]:
    scene = render(0, index, size=SIZE)
    buffer = io.BytesIO()
    Image.fromarray(scene.image).save(buffer, format="PNG")
    image, label = buffer.getvalue(), png.encode(scene.fine)
    counts = np.bincount(scene.fine.ravel(), minlength=256)
    (folder / f"{index}.png").write_bytes(image)
    (folder / f"{index}-ids.png").write_bytes(label)
    digests = [hashlib.sha256(data).hexdigest() for data in (image, label)]
    in_classes = (*counts[: CLASSES.num_classes].tolist(), int(counts[CLASSES.num_classes :].sum()))
    return (
        ImageRow(str(index), "train", "", "source", f"{index}.png", digests[0], len(image), SIZE[1], SIZE[0]),
        LabelRow(str(index), "fine", "train_ids", "source", f"{index}-ids.png", digests[1], len(label), in_classes, ""),
    )


def _sampler(counts: np.ndarray, *, epoch_images: int) -> EpochSampler:
    images_by_class = tuple(np.flatnonzero(of_class) for of_class in counts.T)
    parts = plan_phases(
        TrainConfig(), layers=["fine"] * len(counts), names=CLASSES.names, images_by_class=images_by_class
    )
    return EpochSampler(parts, seed=0, epoch_images=epoch_images, class_uniform=0.5)


def _start() -> Iterable[object]:
    """The start of a training: from the counts of 20,000 labels to the samples of the first epoch."""
    counts = np.random.default_rng(0).integers(0, 2, (20_000, CLASSES.num_classes))
    return _sampler(counts, epoch_images=3000).items(0)


class _Tensors:
    """The samples of one loader process."""

    def __init__(self, crops: CropDataset) -> None:
        self.crops = crops

    def __getitem__(self, number: int) -> list[torch.Tensor]:
        return [torch.from_numpy(array) for array in self.crops[number][:2]]


def _published(crops: CropDataset, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The published method: resize the whole image, then crop; each colour effect is a pass of its own."""
    rng = np.random.default_rng(number)
    item = crops.sampler.items(number // IMAGES)[number % IMAGES]
    drawn, folder = draw_params(crops.augment, rng), crops.pairs.roots["source"]  # type: ignore[attr-defined]
    image = Image.open(folder / f"{item.index}.png").convert("RGB")
    label = Image.open(folder / f"{item.index}-ids.png")
    size = (int(image.width * drawn.scale), int(image.height * drawn.scale))
    image, label = image.resize(size, Image.Resampling.BICUBIC), label.resize(size, Image.Resampling.NEAREST)
    missing = [max(0, crop - side) for crop, side in zip(CROP[::-1], size, strict=True)]
    border = (missing[0] // 2, missing[1] // 2, missing[0] - missing[0] // 2, missing[1] - missing[1] // 2)
    image, label = ImageOps.expand(image, border, FILL), ImageOps.expand(label, border, 255)
    left, top = (int(at * (side - crop)) for at, side, crop in zip(drawn.position, image.size, CROP[::-1], strict=True))
    box = (left, top, left + CROP[1], top + CROP[0])
    image, label = image.crop(box), label.crop(box)
    if drawn.flip:
        image, label = ImageOps.mirror(image), ImageOps.mirror(label)
    return np.array(_jittered(image, drawn)), np.array(label)


def _jittered(image: Image.Image, drawn: AugmentParams) -> Image.Image:
    image = ImageEnhance.Brightness(image).enhance(drawn.brightness)
    image = ImageEnhance.Contrast(image).enhance(drawn.contrast)
    image = ImageEnhance.Color(image).enhance(drawn.saturation)
    hue, *rest = image.convert("HSV").split()
    turned = hue.point([(value + round(255 * drawn.hue)) % 256 for value in range(256)])
    return Image.merge("HSV", (turned, *rest)).convert("RGB")
