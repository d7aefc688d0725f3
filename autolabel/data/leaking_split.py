"""A split that leaks: validation images whose neighbours in the same film are training images.

A film shows in the numbers of file names (`drive1_000120.png`), and in neighbours that look alike. Numbers alone prove
nothing, for most files are numbered. The distance is that of `near_duplicates`. Between neighbouring frames of a
driving car (CamVid, one per second) it is about half of that between two images of the data.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from autolabel.data.near_duplicates import distances
from autolabel.data.sources.splits import split_of_folder

_REACH = 2  # usual steps between the numbers of a film
_ALIKE = 0.6  # fraction of the median distance between validation and training images
_MOST = 2000  # images of a split that are compared, spread evenly
# The last number that stands alone, as in `frankfurt_000294_leftImg8bit`; else the last digits, as in `frame12`.
_NUMBERS = (
    re.compile(r".*(?<![0-9A-Za-z])([0-9]{1,15})(?![0-9A-Za-z])"),
    re.compile(r".*?([0-9]{1,15})(?!.*[0-9])"),
)

Numbered = tuple[str, int]  # the path without its last number, and that number
Image = tuple[str, bytes]  # path and thumbnail


def film_place(path: str) -> Numbered | None:
    """The film of an image and its place there, from the last number of the file name."""
    folder, slash, name = path.rpartition("/")
    stem = name.rpartition(".")[0] or name
    found = next((match for number in _NUMBERS if (match := number.match(stem))), None)
    if found is None:
        return None
    return f"{folder}{slash}{stem[: found.start(1)]}#{stem[found.end(1) :]}", int(found[1])


def frames_beside(val: Sequence[Image], train: Sequence[Image]) -> list[tuple[int, int]]:
    """Pairs of positions (in `val`, in `train`) of neighbours in a film that look alike, one for each val image.

    Folders of splits do not part a film: `val/a_2.png` stands beside `train/a_1.png`.
    """
    if not val or not train:
        return []
    places = [[film_place(_without_split(path)) for path, _ in images] for images in (val, train)]
    films: dict[str, list[tuple[int, int]]] = {}  # number and position of the training images of a film
    numbers: dict[str, list[int]] = {}
    for images, found in zip((val, train), places, strict=True):
        for position, place in enumerate(found):
            if place is not None:
                numbers.setdefault(place[0], []).append(place[1])
                if images is train:
                    films.setdefault(place[0], []).append((place[1], position))
    reach = {film: _REACH * _usual_step(found) for film, found in numbers.items()}
    for frames in films.values():
        frames.sort()
    near = []
    for v, place in enumerate(places[0]):
        if place is not None and place[0] in films:
            film, number = place
            start = bisect_left(films[film], (number - reach[film], -1))
            stop = bisect_left(films[film], (number + reach[film], len(train)))
            near += [(v, position) for _, position in films[film][start:stop]]
    return _alike(near, [small for _, small in val], [small for _, small in train])


def _without_split(path: str) -> str:
    *folders, name = path.split("/")
    return "/".join([*(folder for folder in folders if split_of_folder(folder) is None), name])


def _usual_step(numbers: list[int]) -> float:
    """The median distance of neighbours; 0 for a single one."""
    steps = np.diff(np.sort(np.array(numbers, np.int64)))
    return float(np.median(steps)) if len(steps) else 0.0


def _alike(near: Sequence[tuple[int, int]], val: list[bytes], train: list[bytes]) -> list[tuple[int, int]]:
    """The closest of the pairs of each val image, if it is far closer than two images of the data are."""
    some = [images[:: max(len(images) // _MOST, 1)] for images in (val, train)]
    usual = float(np.median(distances(*some)))
    best: dict[int, tuple[float, int]] = {}
    for v, t in near:
        distance = float(distances([val[v]], [train[t]])[0, 0])
        best[v] = min(best.get(v, (np.inf, 0)), (distance, t))
    return [(v, t) for v, (distance, t) in sorted(best.items()) if distance < _ALIKE * usual]
