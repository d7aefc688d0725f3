"""All that can only be known on a GPU: first that its results are right, then how fast it is.

    python benchmarks/gpu.py [--small] [--device cuda] [--size 512x1024]
                             [--only checks.kernels,speed.labelling]

Every section prints one line of JSON as soon as it is done: its name, its seconds and its figures, or `error`. A
section that fails costs no other one; the exit code is then 1. `--small` takes tiny networks and images, on a CPU too.
What the figures are is said in docs/gpu.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable

import _gpu_checks as checks
import _gpu_speed as speed
import torch
from _gpu_sizes import FULL, SMALL, Sizes

SECTIONS: dict[str, Callable[[str, Sizes], dict[str, object]]] = {
    "machine": checks.machine,
    "checks.kernels": checks.kernels,
    "checks.graphs": checks.graphs,
    "checks.precision": checks.precision,
    "checks.ranks": checks.ranks,
    "checks.resume": checks.resume,
    "checks.memory": checks.memory,
    "speed.decision": speed.decision,
    "speed.labelling": speed.labelling,
    "speed.compiled": speed.compiled,
    "speed.rmi": speed.rmi,
    "speed.training": speed.training,
    "speed.segformer": speed.segformer,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny networks and images")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="by default the GPU, or the CPU with --small")
    parser.add_argument("--size", metavar="HxW", help="of the images")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - SECTIONS.keys():
        parser.error(f"--only: no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" and not (options.small or options.device):
        parser.error("there is no GPU here; --small runs a small form on the CPU")
    sizes = SMALL if options.small else FULL
    if options.size:
        height, width = map(int, options.size.split("x"))
        sizes = sizes._replace(image=(height, width))
    failed = [_run(name, device, sizes) for name in options.only.split(",")]  # a broken section costs no other
    return int(any(failed))


def _run(name: str, device: str, sizes: Sizes) -> bool:
    """Print the section's line; returns whether it failed."""
    start = time.perf_counter()
    try:
        figures = SECTIONS[name](device, sizes)
    except Exception as error:  # the next section runs
        traceback.print_exc()
        figures = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    print(json.dumps({"section": name, "seconds": round(time.perf_counter() - start, 1), **figures}), flush=True)
    if device == "cuda":
        torch.cuda.empty_cache()
    return "error" in figures


if __name__ == "__main__":
    sys.exit(main())
