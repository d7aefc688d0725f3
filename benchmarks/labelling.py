"""Labelling against the published path, as ratios (published / ours; above 1 is better) and shares of pixels.

    python benchmarks/labelling.py [--json] [--only decision,dense] [--trunk hrnet_w18_small_v1] [--images 2]

`decision.*`: fusion and decision of three scales, 19 classes, 1024 x 2048; `dense.*`: from picture files to label files
through a whole network at 512 x 1024. Both run in turn in this process, on one thread; time is CPU time, the median of
the rounds; memory is how far a fresh process grows. `*.labels_differ` is the share of pixels whose label, cut at 0.5,
differs. The published path is in `plain/labelling.py`.
"""

from __future__ import annotations

import argparse
import json

import torch
from labelling_parts import decision, dense

SECTIONS = {
    "decision": lambda given: decision.measure((1024, 2048)),
    "dense": lambda given: dense.measure((512, 1024), trunk=given.trunk, images=given.images),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between")
    parser.add_argument("--trunk", default="hrnet_w18_small_v1")
    parser.add_argument("--images", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, float] = {}
    for name in given.only.split(","):
        result |= SECTIONS[name](given)
    if given.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:28} {value:,.3g}")


if __name__ == "__main__":
    main()
