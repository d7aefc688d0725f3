"""A split that leaks: validation images whose neighbours in the same film are training images.

A film shows in the numbers of file names (`drive1_000120.png`), and in neighbours that look alike. Numbers alone prove
nothing, for most files are numbered. The distance is that of `near_duplicates`. Between neighbouring frames of a
driving car (CamVid, one per second) it is about half of that between two images of the data.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
    of_val, of_train = _films(val), _films(train)
    near: list[tuple[int, int]] = []
    for film in of_val.keys() & of_train.keys():
        numbers, positions = (np.frombuffer(column, np.int64) for column in of_train[film])
        order = np.lexsort((positions, numbers))
        numbers, positions = numbers[order], positions[order]
        reach = _REACH * _usual_step(np.concatenate([numbers, np.frombuffer(of_val[film][0], np.int64)]))
        for number, v in zip(*of_val[film], strict=True):
            start = np.searchsorted(numbers, number - reach)
            stop = np.searchsorted(numbers, number + reach, side="right")
            near += [(v, int(position)) for position in positions[start:stop]]
    return _alike(near, [small for _, small in val], [small for _, small in train])


def _films(images: Sequence[Image]) -> dict[str, tuple[array[int], array[int]]]:
    """Film -> the numbers of its images and their positions."""
    films: dict[str, tuple[array[int], array[int]]] = {}
    for position, (path, _) in enumerate(images):
        if (place := film_place(_without_split(path))) is not None:
            numbers, positions = films.setdefault(place[0], (array("q"), array("q")))
            numbers.append(place[1])
            positions.append(position)
    return films


def _without_split(path: str) -> str:
    *folders, name = path.split("/")
    return "/".join([*(folder for folder in folders if split_of_folder(folder) is None), name])


def _usual_step(numbers: NDArray[np.int64]) -> float:
    """The median distance of neighbours; 0 for a single one."""
    steps = np.diff(np.sort(numbers))
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
