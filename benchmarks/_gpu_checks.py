"""Whether a device computes what the CPU computes. A check that fails raises AssertionError."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from _gpu_sizes import Sizes
from _gpu_speed import CLASSES, SCALES, batch, random_images, teacher, trainer
from torch import Tensor, nn

from autolabel.inference.cuda_graphs import EAGER_PASSES, MAX_GRAPHS, CudaGraphs, StaticPasses
from autolabel.inference.decision import encode
from autolabel.inference.fused_decision import encode_fused, fused_logits
from autolabel.inference.model import SplitOnOutOfMemory
from autolabel.inference.optimize import prepare
from autolabel.labels.codebook import Codebook
from autolabel.models import build_model
from autolabel.models.fusion import FUSIONS, StridedOutput
from autolabel.models.resize import scaled_size
from autolabel.training.checkpoint import checkpoint_to_bytes, restore_checkpoint

SHAPES = [((9, 14), 5, 1), ((61, 83), 19, 2), ((128, 256), 65, 2)]  # image, classes, batch


def machine(device: str, sizes: Sizes) -> dict[str, object]:
    """The card, the versions, and the choices of arithmetic that torch starts with."""
    card = torch.cuda.get_device_properties(0) if device == "cuda" else None
    return {
        "card": card.name if card else "none",
        "memory_gib": card.total_memory / 2**30 if card else 0,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "tf32_products": torch.backends.cuda.matmul.allow_tf32,
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }


def kernels(device: str, sizes: Sizes) -> dict[str, object]:
    """The fraction of codes unlike those of float64 logits, of every fusion, for odd sizes too; at most 1e-4."""
    found: dict[str, object] = {}
    for name in ("hierarchical", "average", "explicit"):
        for size, classes, images in SHAPES:
            view = _random_view(size, classes, images, explicit=name == "explicit")
            book = Codebook(classes)
            on_device = [m._replace(logits=m.logits.to(device), attention=m.attention.to(device)) for m in view]
            codes = encode_fused(FUSIONS[name], [on_device], book).cpu()
            exact = [m._replace(logits=m.logits.double(), attention=m.attention.double()) for m in view]
            differ = (codes != encode(fused_logits(FUSIONS[name], [exact]), book)).double().mean().item()
            assert differ <= 1e-4, (name, size, differ)
            found[f"{name}.{size[0]}x{size[1]}"] = differ
    return found


def _random_view(size: tuple[int, int], classes: int, images: int, *, explicit: bool) -> list[StridedOutput]:
    generator = torch.Generator().manual_seed(0)
    view = []
    for scale in sorted(SCALES, reverse=True):
        own = scaled_size(size, scale)
        raw = -(-own[0] // 4), -(-own[1] // 4)
        padded = (-(-size[0] // 4) + 2, -(-size[1] // 4) + 2) if explicit else raw
        logits = 3 * torch.randn(images, classes, *raw, generator=generator)
        attention = torch.rand(images, 1, *padded, generator=generator)
        view.append(StridedOutput(scale, logits, attention, own, size if explicit else own))
    return view


@torch.inference_mode()
def graphs(device: str, sizes: Sizes) -> dict[str, object]:
    """As many shapes as are recorded, each replayed with new images: the largest difference from the eager pass."""
    torch.manual_seed(0)
    model = prepare(build_model({"trunk": sizes.trunk, **sizes.channels}, CLASSES), device)
    passes = StaticPasses(model.forward_scale, CudaGraphs() if device == "cuda" else lambda f, images, attention: f)
    worst = 0.0
    for number in range(MAX_GRAPHS if device == "cuda" else 2):
        for seed in range(EAGER_PASSES + 3):
            images = torch.randn(1, 3, 64, 64 + 32 * number, generator=torch.Generator().manual_seed(seed)).to(device)
            ours, expected = passes(images).logits, model.forward_scale(images).logits
            worst = max(worst, ((ours - expected).abs().max() / expected.abs().max()).item())
    assert worst < 1e-2, worst
    return {"relative_error": worst}


def precision(device: str, sizes: Sizes) -> dict[str, object]:
    """The fraction of labels unlike those of the CPU in fp32, with a network of random weights: many narrow wins."""
    images = random_images(sizes, 1)
    expected = _labels(teacher(sizes, "cpu", "fp32"), images)
    found: dict[str, object] = {}
    for name in ("fp32", "bf16"):
        found[f"{name}.labels_differ"] = (
            (_labels(teacher(sizes, device, name), images) != expected).double().mean().item()
        )
    return found


def _labels(model: object, images: Tensor) -> Tensor:
    codes: Tensor = model(images)  # type: ignore[operator]  # an InferenceModel
    return codes.cpu().int() // Codebook(CLASSES).bins


def ranks(device: str, sizes: Sizes) -> dict[str, object]:
    """A process group of one rank: a sum, and on CUDA a synchronised batch norm against a plain one."""
    with tempfile.TemporaryDirectory() as folder:
        store = dist.FileStore(str(Path(folder) / "store"), 1)
        dist.init_process_group("nccl" if device == "cuda" else "gloo", store=store, rank=0, world_size=1)
        try:
            values = torch.arange(4.0, device=device)
            dist.all_reduce(values)
            assert values.tolist() == [0, 1, 2, 3]
            return {"norm_error": _sync_norm_error()} if device == "cuda" else {"norm_error": "needs CUDA"}
        finally:
            dist.destroy_process_group()


def _sync_norm_error() -> float:
    plain = nn.BatchNorm2d(8).cuda()
    synced = nn.SyncBatchNorm(8).cuda()
    x = torch.randn(4, 8, 16, 16, device="cuda")
    error = (plain(x) - synced(x)).abs().max().item()
    assert error < 1e-4, error
    return error


def resume(device: str, sizes: Sizes) -> dict[str, object]:
    """One step after a checkpoint, by the same training and by another that resumes: the difference of the weights."""
    first, images, labels = trainer(sizes, device), *batch(sizes)
    first.train_step(images, labels)
    data = checkpoint_to_bytes(first)
    first.train_step(images, labels)
    second = trainer(sizes, device)
    restore_checkpoint(second, data)
    second.train_step(images, labels)
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    worst = max((a - b).abs().max().item() for a, b in pairs)
    assert worst < 1e-3, worst
    return {"weights_differ": worst}


def memory(device: str, sizes: Sizes) -> dict[str, object]:
    """A batch that does not fit is halved until it does, with the same codes; on CUDA the limit is a real one."""
    model, images = teacher(sizes, device, "fp32"), random_images(sizes, 4)
    expected = torch.cat([model(images[i : i + 1]) for i in range(4)]).cpu()
    halvings: list[int] = []
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        model(images[:1])
        allowed = 1.6 * torch.cuda.max_memory_reserved() / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, allowed))
    try:
        codes = SplitOnOutOfMemory(model if device == "cuda" else _one_at_a_time(model), halvings.append)(images).cpu()
    finally:
        if device == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)
    differ = (codes != expected).double().mean().item()
    assert halvings, "the whole batch fitted"
    assert differ < 0.01, differ
    return {"halvings": len(halvings), "codes_differ": differ}


def _one_at_a_time(model: object):  # type: ignore[no-untyped-def]
    def run(images: Tensor) -> Tensor:
        if len(images) > 1:
            raise torch.OutOfMemoryError("two images")
        return model(images)  # type: ignore[operator]

    return run
