"""The inputs of `predict` (images, folders, animations, videos) and the names of their results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np

from autolabel.config.sources import SourceConfig
from autolabel.data.decode import naming_limit
from autolabel.data.media import decode_frames
from autolabel.data.sources.label_sets import refuse_results, states_labels
from autolabel.data.sources.listing import IMAGE_SUFFIXES
from autolabel.data.video import CONTAINERS, decode_video, expected_frames
from autolabel.errors import ConfigError, DataError
from autolabel.labels.label_set import CLASSES, LEGEND
from autolabel.store import WORK_MARK, mirror_names
from autolabel.store.names import fold
from autolabel.user_files import open_user_file

MAX_PIXELS = SourceConfig().max_pixels
ANIMATION = "animation.webp"


@dataclass(frozen=True)
class FrameSelection:
    """A selection of frames of a video or files of a folder: every `every`-th, `most` at most."""

    every: int = 1
    most: int | None = None

    @property
    def slice(self) -> slice:
        return slice(0, None if self.most is None else self.most * self.every, self.every)


@dataclass(frozen=True)
class MediaFile:
    """One file. The label of a still image is labels/NAME.png, that of a frame labels/FOLDER/000012.png."""

    file: Path
    image: str  # its id: the path below the folder that all files have in common, without the suffix
    name: str  # path of its results, without .png
    folder: str  # path of the results of its frames

    @property
    def container(self) -> str | None:
        """The container of a video; None for an image, which may still hold several frames."""
        return CONTAINERS.get(self.file.suffix.lower())


class Frame(NamedTuple):
    image: str  # its id
    name: str  # path of its results, without .png
    pixels: np.ndarray  # (H, W, 3) uint8 RGB


def find_sources(paths: tuple[Path, ...], out: Path, take: FrameSelection) -> list[MediaFile]:
    """The listed files, and the images below listed folders, sorted by name. No file is opened.

    Raises DataError for a missing file, ConfigError for a file named twice and for results among the images.
    """
    if any(path.is_dir() and path.resolve() == out.resolve() for path in paths):
        raise ConfigError(out, "is a folder of IMAGES: results would be taken for images", "give another --out")
    files = [file for path in paths for file in _files(path, out, take)]
    places = [path if path.is_dir() else path.parent for path in paths]
    return _named(files, Path(os.path.commonpath(map(_normal, places))))


def _files(path: Path, out: Path, take: FrameSelection) -> list[Path]:
    """The path itself, or all images below it except hidden ones and results of autolabel."""
    if not path.exists():
        raise DataError(path, "no such file or folder", "give image files, videos or folders")
    if not path.is_dir():
        return [path]
    inside = sorted(_images_below(path, Path(os.path.realpath(out))))
    if not inside:
        raise DataError(path, "holds no images", f"files must end in one of {', '.join(IMAGE_SUFFIXES)}")
    return inside[take.slice]


def _images_below(path: Path, out: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(path):  # much faster than Path.rglob: `path` may be a whole disk
        if folder == str(path):
            refuse_results(path, names)
        elif WORK_MARK in names or (CLASSES in names and states_labels(Path(folder, CLASSES))):
            folders.clear()
            continue
        visible = (name for name in folders if name[0] != ".")
        folders[:] = [name for name in visible if name != out.name or Path(folder, name).resolve() != out]
        images = (name for name in names if name[0] != "." and name.lower().endswith(IMAGE_SUFFIXES))
        yield from (file for file in (Path(folder, name) for name in images) if file.is_file())


def _named(files: list[Path], base: Path) -> list[MediaFile]:
    """Each file with the paths of its results: its own path below `base`, and with its suffix where stems are equal."""
    paths = [_normal(file).relative_to(base).as_posix() for file in files]
    if len(set(paths)) < len(paths):
        raise ConfigError("IMAGES", "name a file twice", "name each once")
    stems = {path: path.removesuffix(PurePosixPath(path).suffix) for path in paths}
    count = Counter(map(fold, stems.values()))
    images = {path: stem if count[fold(stem)] == 1 else path for path, stem in stems.items()}
    folders = _frame_folders(images)
    names = mirror_names({**images, **{f"{path}/frames": f"{folders[path]}/0" for path in paths}})
    return [
        MediaFile(file, images[path], names[path], names[f"{path}/frames"].rpartition("/")[0])
        for file, path in zip(files, paths, strict=True)
    ]


def _normal(path: Path) -> Path:
    """The absolute path without `..`; links stay, as the user named them."""
    return Path(os.path.normpath(path.absolute()))


def _frame_folders(images: Mapping[str, str]) -> dict[str, str]:
    """Path of each file -> a folder for its frames that no folder of images has."""
    taken = {parent.as_posix() for image in images.values() for parent in PurePosixPath(image).parents}
    folders = {}
    for path in sorted(images):
        folder = f"{images[path]}_frames"
        while folder in taken:
            folder += "_"
        folders[path] = folder
        taken.add(folder)
    return folders


def check_out(out: Path, sources: list[MediaFile], kinds: Collection[str]) -> None:
    """Raise ConfigError if the results cannot lie in `out`, or one of them would replace a source."""
    if out.exists() and not out.is_dir():
        raise ConfigError(out, "is not a folder", "give another --out")
    folder = Path(os.path.realpath(out))
    results = {folder / kind / f"{source.name}.png" for source in sources for kind in kinds}
    results |= {folder / kind / source.folder for source in sources for kind in kinds}
    results |= {folder / name for name in (ANIMATION, LEGEND, CLASSES)}
    for source in sources:
        file = source.file.resolve()
        if file in results or file.parent in results:
            remedy = "give another --out, or leave this file out"
            raise ConfigError(source.file, "would be replaced by a result", remedy)


def result_names(out: Path, sources: list[MediaFile], kinds: Collection[str], *, animated: bool) -> list[str]:
    """Names of the results of all sources as still images, and of the frames that are there already."""
    names = [f"{kind}/{source.name}.png" for source in sources for kind in kinds]
    folders = [out / kind / source.folder for source in sources for kind in kinds]
    frames = (file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir()))
    names += [file.relative_to(out).as_posix() for file in frames]
    return [*names, LEGEND, CLASSES, *([ANIMATION] if animated else [])]


def expected_images(source: MediaFile, take: FrameSelection, max_pixels: int = MAX_PIXELS) -> int:
    """Approximate number of images in a source. Raises DataError for a video with a bad header."""
    if source.container is None:
        return 1
    with _opened(source.file) as file, naming_limit("--max-pixels"):
        count = expected_frames(file, source.container, where=source.file, max_pixels=max_pixels)
    return len(range(count)[take.slice])


def read_images(source: MediaFile, take: FrameSelection, max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """The images of a source, one by one. Raises DataError, after the last image where some of them are damaged."""
    limits = {"where": source.file, "max_pixels": max_pixels, "stop": take.slice.stop}
    with _opened(source.file) as file, naming_limit("--max-pixels"):
        if source.container is not None:
            several, frames = True, decode_video(file, source.container, **limits)
        else:
            several, frames = decode_frames(file.read(), **limits)
        with closing(frames):
            for number, pixels in frames:
                if number % take.every:
                    continue
                if several:
                    yield Frame(f"{source.image}/{number:06}", f"{source.folder}/{number:06}", pixels)
                else:
                    yield Frame(source.image, source.name, pixels)


def _opened(file: Path) -> BinaryIO:
    return open_user_file(file, DataError, "give image files, videos or folders")
