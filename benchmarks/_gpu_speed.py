"""How fast a device labels and trains. Ratios are published / ours or theirs / ours: above 1 is better."""

from __future__ import annotations

import statistics
from functools import partial

import _decision
import _dense
import _losses
import torch
from _gpu_sizes import Sizes
from _measure import Work, peak_bytes, seconds_in_turn, time_ratio
from torch import Tensor

from autolabel.config.networks import ModelConfig, TrainConfig
from autolabel.inference.model import InferenceModel
from autolabel.inference.optimize_huggingface import prepare_huggingface
from autolabel.labels.codebook import Codebook
from autolabel.losses import training_loss
from autolabel.models import HuggingFaceModel, WeightsCard, build_model
from autolabel.models.huggingface.architectures import ARCHITECTURES
from autolabel.models.layers import MEAN, STD
from autolabel.training.trainer import Trainer

SCALES = (0.5, 1.0, 2.0)
CLASSES = 19


def decision(device: str, sizes: Sizes) -> dict[str, object]:
    """Fusion and decision of the maps of three scales."""
    theirs, ours = (_decision.decision_work(kind, sizes.image, device) for kind in ("published", "ours"))
    pairs = seconds_in_turn(theirs, ours, device=device, rounds=sizes.rounds)
    return {
        "time_ratio": statistics.median(a / b for a, b in pairs),
        "milliseconds": 1000 * statistics.median(b for _, b in pairs),
        "memory_ratio": peak_bytes(theirs, device) / max(1, peak_bytes(ours, device)) if device == "cuda" else None,
        "labels_differ": float((theirs() != ours()).mean()),
    }


def _half(device: str) -> str:
    """bf16 where it is fast; a CPU without its instructions takes twenty times as long."""
    return "bf16" if device == "cuda" else "fp32"


def labelling(device: str, sizes: Sizes) -> dict[str, object]:
    """Three scales with OCR, not compiled, against the published order in plain torch: see `_dense.py`."""
    return dict(
        _dense.measure(
            device,
            trunk=sizes.trunk,
            precision=_half(device),
            size=sizes.image,
            images=sizes.images,
            memory=device == "cuda",
        )
    )


def compiled(device: str, sizes: Sizes) -> dict[str, object]:
    """Images per second from memory to codes: eager, and compiled and recorded; seconds to compile and record."""
    images = random_images(sizes, sizes.images)
    found: dict[str, object] = {}
    for name in ("eager", "compiled"):
        model = teacher(sizes, device, _half(device), static=name == "compiled")
        work = partial(_finish, model, images, device)
        (first, _), *_ = seconds_in_turn(partial(_repeat, work), work, device=device, rounds=1)
        times = [b for _, b in seconds_in_turn(lambda: None, work, device=device, rounds=sizes.rounds)]
        found[f"{name}.images_per_second"] = len(images) / statistics.median(times)
        found[f"{name}.first_seconds"] = first
    return found


def _repeat(work: Work) -> None:
    """More calls than a shape stays eager."""
    for _ in range(5):
        work()


def _finish(model: InferenceModel, images: Tensor, device: str) -> Tensor:
    return model(images).cpu()


def rmi(device: str, sizes: Sizes) -> dict[str, object]:
    """RMI alone, forward and backward, at the size of a published crop at stride 8; and the error of its gradient."""
    shape = (1, CLASSES, sizes.crop[0] // 4, sizes.crop[1] // 4)
    theirs, ours = (_losses.rmi_work(kind, shape, device) for kind in ("published", "ours"))
    p, y, counts = _losses.pooled_maps(shape, device)
    expected = _losses.published_rmi(p.double(), y, counts)
    return {
        "time_ratio": time_ratio(theirs, ours, device=device, rounds=sizes.rounds),
        "memory_ratio": peak_bytes(theirs, device) / max(1, peak_bytes(ours, device)) if device == "cuda" else None,
        "gradient_error": _losses.relative_error(_losses.our_rmi(p, y, counts).float(), expected),
    }


def training(device: str, sizes: Sizes) -> dict[str, object]:
    """Seconds per training step in bf16, with each choice of arithmetic that torch leaves open on CUDA."""
    choices = {"default": (False, True), "benchmark": (True, True), "no_tf32": (False, False)}
    found: dict[str, object] = {}
    for name, (benchmark, tf32) in choices.items() if device == "cuda" else [("default", (False, True))]:
        with torch.backends.cudnn.flags(benchmark=benchmark, allow_tf32=tf32):
            work = partial(trainer(sizes, device, precision="bf16").train_step, *batch(sizes))
            times = [b for _, b in seconds_in_turn(lambda: None, work, device=device, rounds=sizes.rounds)]
            found[f"{name}.seconds"] = statistics.median(times)
            found[f"{name}.peak_bytes"] = peak_bytes(work, device)
    return found


@torch.inference_mode()
def segformer(device: str, sizes: Sizes) -> dict[str, object]:
    """A random SegFormer as transformers runs it, and with the lean decoder; the largest difference of logits."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    labels = {number: str(number) for number in range(CLASSES)}
    network = SegformerForSemanticSegmentation(SegformerConfig(**sizes.segformer, id2label=labels))
    plain = HuggingFaceModel(network, ARCHITECTURES["segformer"], range(CLASSES), CLASSES).eval().to(device)
    lean = prepare_huggingface(plain, device)
    images = torch.randn(1, 3, *sizes.image, device=device)
    theirs, ours = (partial(model._run, images) for model in (plain, lean))
    expected = theirs().logits
    return {
        "time_ratio": time_ratio(theirs, ours, device=device, rounds=sizes.rounds),
        "relative_error": ((ours().logits - expected).abs().max() / expected.abs().max()).item(),
    }


def teacher(sizes: Sizes, device: str, precision: str, *, static: bool = False) -> InferenceModel:
    """A network with random weights, always the same ones."""
    torch.manual_seed(0)
    model = build_model({"trunk": sizes.trunk, **sizes.channels}, CLASSES)
    card = WeightsCard(table=model.table, class_names=tuple(f"class {number}" for number in range(CLASSES)))
    book = Codebook(CLASSES)
    return InferenceModel(model, card, book, scales=SCALES, device=device, precision=precision, static=static)


def random_images(sizes: Sizes, number: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (number, *sizes.image, 3), generator=generator, dtype=torch.uint8)


def trainer(sizes: Sizes, device: str, *, precision: str = "fp32") -> Trainer:
    torch.manual_seed(0)
    return Trainer(
        model=build_model(ModelConfig(trunk=sizes.trunk, **sizes.channels), CLASSES),
        loss=partial(training_loss, loss="rmi", aux_weight=0.4, scale_weight=0.05),
        settings=TrainConfig(precision=precision),
        seed=0,
        total_steps=1000,
        device=torch.device(device),
        mean=MEAN,
        std=STD,
        num_classes=CLASSES,
    )


def batch(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Images (B, H, W, 3) and labels (B, H, W) in blocks of 16 pixels."""
    generator = torch.Generator().manual_seed(0)
    height, width = sizes.crop
    images = torch.randint(0, 256, (sizes.batch, height, width, 3), generator=generator, dtype=torch.uint8)
    blocks = torch.randint(0, CLASSES, (sizes.batch, height // 16, width // 16), generator=generator, dtype=torch.uint8)
    return images, blocks.repeat_interleave(16, dim=1).repeat_interleave(16, dim=2)
