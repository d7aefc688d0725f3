"""The cost of training against plain implementations (theirs / ours, above 1 is better), and by fusion.

    python benchmarks/training.py [--json] [--only costs,loader,losses] [--device cpu] [--threads 1] [--rounds 3]

On a CPU, time is CPU time, both in turn in this process; memory is the peak of a fresh process for each. What the
figures are is said where they are taken: `rmi.*`, `loss*` in `_losses.py`; `cost.*`, `step.*` (multiples of a single
scale, below is better) in `_costs.py`; `loader.*` in `_loader.py`.
"""

from __future__ import annotations

import argparse
import json
import sys

import _costs
import _loader
import _losses
import torch

SECTIONS = {"costs": _costs.measure, "loader": _loader.measure, "losses": _losses.measure}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result: dict[str, float] = {}
    for name in arguments.only.split(","):
        print(f"measuring {name}", file=sys.stderr)
        result |= SECTIONS[name](arguments.device, arguments.rounds)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:32} {value:,.3g}")


if __name__ == "__main__":
    main()
