"""Peak memory of labelling one image: the published path and ours, each in a process of its own.

    python benchmarks/memory.py [--trunk hrnet_w18_small_v1] [--size 512x1024] [--narrow] [--precision fp32]
                                [--side ours,published]

The peak is that of the whole process, with Python, torch and the weights. `--narrow`: an OCR head of 64 channels.
Scales 0.5, 1 and 2, one thread, random weights.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

SCALES = (0.5, 1.0, 2.0)
CLASSES = 19
NARROW = {"head_channels": 64, "key_channels": 32, "attention_channels": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trunk", default="hrnet_w18_small_v1")
    parser.add_argument("--size", default="512x1024", metavar="HxW")
    parser.add_argument("--narrow", action="store_true")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="of ours")
    parser.add_argument("--side", default="published,ours")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(inside(options)))
        return
    found = {}
    for side in options.side.split(","):
        command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--inside"]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[side] = json.loads(run.stdout)
        print(f"{side:10} {found[side]['peak'] / 1e9:6.2f} GB  {found[side]['seconds']:7.1f} CPU s")
    if len(found) == 2:
        print(f"ours / published: memory {found['ours']['peak'] / found['published']['peak']:.2f}")


def inside(options: argparse.Namespace) -> dict[str, float]:
    """Peak bytes of this process and CPU seconds for one image; Linux."""
    import _published_labelling as published
    import torch

    from autolabel.inference.model import InferenceModel
    from autolabel.labels.codebook import Codebook
    from autolabel.models import WeightsCard, build_model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = {"trunk": options.trunk, "head": "ocr", "fusion": "hierarchical", **(NARROW if options.narrow else {})}
    model = build_model(table, CLASSES).eval()
    height, width = map(int, options.size.split("x"))
    images = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8)
    start = time.process_time()
    if options.side == "ours":
        card = WeightsCard(table=model.table, class_names=tuple(f"class {k}" for k in range(CLASSES)))
        book = Codebook(CLASSES)
        InferenceModel(model, card, book, scales=SCALES, precision=options.precision)(images)
    else:
        plain = model.to(memory_format=torch.contiguous_format)
        published.label(plain, images[0].numpy(), SCALES, 0.5, torch.autocast("cpu", enabled=False))
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return {"peak": peak, "seconds": time.process_time() - start}


if __name__ == "__main__":
    main()
