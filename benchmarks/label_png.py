"""Label PNGs against Pillow's default: bytes and time, as ratios (Pillow / ours; above 1 is better).

    python benchmarks/label_png.py [--json] [--size 1024x2048] [--images 4]

Both encode the same maps, in turn, in this process; time is CPU time of one thread, the median of several rounds.
The maps are synthetic street scenes with every pixel near a class border ignored, as a threshold leaves them.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from autolabel.data.scenes import render
from autolabel.labels import png

ROUNDS = 5


def pillow_default(labels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, format="PNG")
    return buffer.getvalue()


def thresholded(label: np.ndarray) -> np.ndarray:
    """Ignore the pixels beside a border: there a network is unsure."""
    border = np.zeros(label.shape, bool)
    border[:-1] |= label[1:] != label[:-1]
    border[:, :-1] |= label[:, 1:] != label[:, :-1]
    return np.where(border, np.uint8(255), label)


def cpu_seconds(encode: Callable[[np.ndarray], bytes], maps: list[np.ndarray]) -> float:
    start = time.process_time()
    for labels in maps:
        encode(labels)
    return time.process_time() - start


def measure(size: tuple[int, int], count: int) -> dict[str, float]:
    """Ratios, and our bytes a label."""
    maps = [thresholded(render(0, index, size=size).fine) for index in range(count)]
    for labels in maps:
        assert np.array_equal(np.array(Image.open(io.BytesIO(png.encode(labels)))), labels)
    rounds = [(cpu_seconds(pillow_default, maps), cpu_seconds(png.encode, maps)) for _ in range(ROUNDS)]
    ours = sum(len(png.encode(labels)) for labels in maps)
    return {
        "label_png.bytes_ratio": sum(len(pillow_default(labels)) for labels in maps) / ours,
        "label_png.time_ratio": statistics.median(theirs / mine for theirs, mine in rounds),
        "label_png.bytes_per_label": ours / count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--size", default="1024x2048", help="height x width")
    parser.add_argument("--images", type=int, default=4)
    arguments = parser.parse_args()
    height, width = (int(side) for side in arguments.size.split("x"))
    result = measure((height, width), arguments.images)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:28} {value:,.2f}")


if __name__ == "__main__":
    main()
