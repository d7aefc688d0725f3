"""Labelling against the published path, as ratios (published / ours; above 1 is better) and fractions of other labels.

    python benchmarks/labelling.py [--json] [--only decision,dense,codec] [--device cpu] [--threads 1] [--rounds 5]
                                   [--trunk hrnet_w18_small_v1] [--size 512x1024] [--images 2] [--precision fp32]
    python benchmarks/labelling.py --only segformer [--scales 0.5,1,2] [--flip] [--size 512x1024]

On a CPU, time is CPU time, both in turn in this process; memory is the peak of a fresh process for each. What the
figures are is said where they are taken: `_decision.py`, `_dense.py` with `_scopes.py`, `_codec.py`; the published
path is `_published_labelling.py`. `segformer` compares with transformers instead (`_segformer.py`, fp32 against fp32).
`*.labels_differ` is the share of pixels whose label, cut at 0.5, is another.
"""

from __future__ import annotations

import argparse
import json

import _codec
import _decision
import _dense
import _segformer
import torch

SECTIONS = {
    "decision": lambda options: _decision.measure(options.device, options.rounds),
    "dense": lambda options: _dense.measure(
        options.device, trunk=options.trunk, precision=options.precision, size=options.size, images=options.images
    ),
    "codec": lambda options: _codec.measure(),
    "segformer": lambda options: _segformer.measure(
        scales=[float(scale) for scale in options.scales.split(",")], flip=options.flip, size=options.size
    ),
}
DEFAULT = "decision,dense,codec"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default=DEFAULT, help=f"sections, with commas between: {', '.join(SECTIONS)}")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--rounds", type=int, default=5, help="of decision; codec runs three, dense and segformer one")
    parser.add_argument("--trunk", default="hrnet_w18_small_v1", help="of dense")
    parser.add_argument("--size", type=_size, default=(512, 1024), metavar="HxW", help="of dense, segformer")
    parser.add_argument("--images", type=int, default=2, help="of dense")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="of dense: of both networks")
    parser.add_argument("--scales", default="0.5,1,2", help="of segformer")
    parser.add_argument("--flip", action="store_true", help="of segformer")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - SECTIONS.keys():
        parser.error(f"--only: no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    torch.set_num_threads(options.threads)
    result: dict[str, float] = {}
    for name in options.only.split(","):
        result |= SECTIONS[name](options)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:32} {value:,.4g}")


def _size(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


if __name__ == "__main__":
    main()
