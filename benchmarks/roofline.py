"""Share of the machine's measured peak that networks reach: labelling one scale, and a training step, on one thread.

    python benchmarks/roofline.py [--size 256x512] [--networks hrnet_w18_small_v1,...]

The peak is the best of some large matrix products and 3x3 convolutions in float32. FLOPs of labelling are those of the
optimized network as it runs: Winograd's filtering counts its few products and its transforms. A training step, on two
images, counts as three forward passes of the plain network. Beside the share stand the layers that take the most time
besides convolutions and matrix products. Random weights.

A second table holds single layers of these networks: what oneDNN and MKL reach for them limits every network.
`--networks none` prints it alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from _segformer import B2
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from autolabel.config.networks import TrainConfig
from autolabel.inference.optimize import prepare
from autolabel.inference.optimize_huggingface import prepare_huggingface
from autolabel.losses import training_loss
from autolabel.models import HuggingFaceModel, Network, build_model
from autolabel.models.huggingface.architectures import ARCHITECTURES
from autolabel.models.layers import MEAN, STD
from autolabel.models.skeleton import on_meta
from autolabel.training.trainer import Trainer

CLASSES = 19
NETWORKS = {
    "hrnet_w48": {"trunk": "hrnet_w48", "head": "ocr", "fusion": "hierarchical"},
    "hrnet_w18_small_v1": {"trunk": "hrnet_w18_small_v1", "head": "ocr", "fusion": "hierarchical"},
    "deeplabv3plus": {"trunk": "resnet50_os16", "head": "deeplabv3plus", "fusion": "single"},
    "efficientnet_lite0": {"trunk": "efficientnet_lite0", "head": "fpn", "fusion": "single"},
}
# channels in and out, kernel, groups, height, width
CONVOLUTIONS = {
    "3x3, 18 channels (HRNet-W18)": (18, 18, 3, 1, 64, 128),
    "3x3, 36 channels (HRNet-W18)": (36, 36, 3, 1, 32, 64),
    "3x3, 48 channels (HRNet-W48)": (48, 48, 3, 1, 64, 128),
    "3x3, 384 channels (HRNet-W48)": (384, 384, 3, 1, 8, 16),
    "1x1, 64 to 256 channels (ResNet-50)": (64, 256, 1, 1, 64, 128),
    "1x1, 24 to 144 channels (EfficientNet)": (24, 144, 1, 1, 64, 128),
    "depthwise 3x3, 96 channels (EfficientNet)": (96, 96, 3, 96, 64, 128),
    "depthwise 5x5, 240 channels (EfficientNet)": (240, 240, 5, 240, 32, 64),
}
LINEAR = {
    "linear, 64 to 64 features (SegFormer)": (64, 64, 8192),
    "linear, 64 to 256 features (SegFormer)": (64, 256, 8192),
    "linear, 320 to 1280 features (SegFormer)": (320, 1280, 512),
}
PRODUCTS = ("convolution", "mm", "addmm", "bmm", "baddbmm", "linear")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="256x512", metavar="HxW")
    parser.add_argument("--networks", default=",".join([*NETWORKS, "segformer_b2"]))
    options = parser.parse_args()
    torch.set_num_threads(1)
    height, width = map(int, options.size.split("x"))
    peak = measured_peak()
    print(f"peak {peak / 1e9:.0f} GFLOP/s")
    print("| network | work | GFLOP | GFLOP/s | share of the peak | time besides products |\n|---|---|---|---|---|---|")
    for name in options.networks.split(",") if options.networks != "none" else ():
        for work, (run, flops) in works(name, height, width).items():
            run()
            speed = flops / seconds(run)
            row = f"{flops / 1e9:.1f} | {speed / 1e9:.0f} | {100 * speed / peak:.0f} % | {besides(run)}"
            print(f"| {name} | {work} | {row} |", flush=True)
    print("\n| layer alone | GFLOP/s | share of the peak |\n|---|---|---|")
    for name, (run, flops) in layers().items():
        run()
        speed = flops / seconds(run, 10)
        print(f"| {name} | {speed / 1e9:.0f} | {100 * speed / peak:.0f} % |", flush=True)


def layers() -> dict[str, tuple[Callable[[], object], float]]:
    """Single layers without bias, channels last; each with its FLOPs."""
    found: dict[str, tuple[Callable[[], object], float]] = {}
    for name, (inputs, outputs, kernel, groups, height, width) in CONVOLUTIONS.items():
        weight = torch.randn(outputs, inputs // groups, kernel, kernel)
        weight, x = (t.to(memory_format=torch.channels_last) for t in (weight, torch.randn(1, inputs, height, width)))
        flops = 2 * inputs * outputs // groups * kernel * kernel * height * width
        found[name] = partial(F.conv2d, x, weight, padding=kernel // 2, groups=groups), flops
    for name, (inputs, outputs, rows) in LINEAR.items():
        weight, x = torch.randn(outputs, inputs), torch.randn(rows, inputs)
        found[name] = partial(F.linear, x, weight), 2 * inputs * outputs * rows
    return found


def measured_peak() -> float:
    """FLOP/s"""
    matrix = torch.randn(1024, 1024)
    image = torch.randn(1, 64, 128, 128).to(memory_format=torch.channels_last)
    kernel = torch.randn(64, 64, 3, 3).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        product = 2 * 1024**3 / seconds(lambda: matrix @ matrix, 10)
        convolution = 2 * 9 * 64 * 64 * 128 * 128 / seconds(lambda: F.conv2d(image, kernel, padding=1), 20)
    return max(product, convolution)


def seconds(run: Callable[[], object], times: int = 2) -> float:
    """CPU seconds of the fastest run."""
    found = []
    for _ in range(times):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return min(found)


def works(name: str, height: int, width: int) -> dict[str, tuple[Callable[[], object], float]]:
    """A pass of the optimized network, and a training step; each with its FLOPs."""
    torch.manual_seed(0)
    model = network(name)
    labelling, images = inference(model), torch.randn(1, 3, height, width)
    with on_meta():  # torch counts no fused convolutions, and the meta device has none
        shapes, empty = inference(network(name), "meta"), torch.empty(1, 3, height, width)
    label_flops, forward_flops = counted(lambda: shapes(empty)), counted(lambda: model(images))
    trainer = Trainer(
        model=model,
        loss=partial(training_loss, loss="ce", aux_weight=0.4, scale_weight=0.05),
        settings=TrainConfig(),
        seed=0,
        total_steps=1000,
        device=torch.device("cpu"),
        mean=MEAN,
        std=STD,
        num_classes=CLASSES,
    )
    batch = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (2, height, width), dtype=torch.uint8)
    return {
        "label": (lambda: labelling(images), label_flops),
        "train": (lambda: trainer.train_step(batch, labels), 2 * 3 * forward_flops),
    }


def network(name: str) -> Network:
    if name != "segformer_b2":
        return build_model(NETWORKS[name], CLASSES).eval()
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    built = SegformerForSemanticSegmentation(SegformerConfig(**B2, num_labels=CLASSES))
    return HuggingFaceModel(built, ARCHITECTURES["segformer"], range(CLASSES), CLASSES).eval()


def inference(model: Network, device: str = "cpu") -> Callable[[Tensor], object]:
    """One scale of the copy that labels."""
    if isinstance(model, HuggingFaceModel):
        run: Callable[[Tensor], object] = prepare_huggingface(model, device, as_on="cpu")._run
    else:
        run = prepare(model, device, as_on="cpu").forward_scale
    return torch.inference_mode()(run)


def counted(run: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return float(counter.get_total_flops())


def besides(run: Callable[[], object], most: int = 3) -> str:
    """The operations that take the most of the time, except products: "add 6 %, ..."."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        run()
    times = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in found.key_averages()}
    total = sum(times.values())
    others = {name: t for name, t in times.items() if not any(product in name for product in PRODUCTS)}
    largest = sorted(others, key=lambda name: -others[name])[:most]
    return ", ".join(f"{name} {100 * others[name] / total:.0f} %" for name in largest)


if __name__ == "__main__":
    main()
