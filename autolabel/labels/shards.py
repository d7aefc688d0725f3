"""Shards of codes: one HDF5 file a chunk of images, made and read in memory.

    /                 attributes: format, format_version, num_classes, edges, rule, class_names, split;
                      version 2: second_below
    /images/000000    (H, W) uint8 or uint16 codes of the first image; attribute: id
    ...

Blocks are deflated, so that any HDF5 reader gets an image's codes by `file["images/000000"][()]`. A block is the whole
image, or 256 columns of one wider than 1024: deflate looks back 32 kB, which then are more rows. Images may differ in
size. Nothing that depends on time or place enters: same codes, same libraries, same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook
from autolabel.user_files import read_user_file

FORMAT = "autolabel codes"
FORMAT_VERSION = 1  # of codes without second classes; 2 with them
# By `benchmarks/codes.py`: level 9 takes 5 % less at a sixth of the speed, strips 5 % less at none.
_LEVEL = 6
_WIDE, _STRIP = 1024, 256
_LAYOUT = {"libver": ("v110", "v110")}  # pinned; metadata carries checksums from v110 on
SPLITS = ("train", "val")  # images to label, images that measure how good the codes are
_MAX_RATIO = 1040  # deflate expands by 1032 at most: a shape that claims more is a lie


def write_shard(
    items: Iterable[tuple[str, np.ndarray]], book: Codebook, *, class_names: Sequence[str] = (), split: str = ""
) -> bytes:
    """The HDF5 file of (image id, (H, W) codes) pairs, in the order given; ids must differ.

    `split`: the one of SPLITS that all images belong to, "" where that is not known.
    """
    with h5py.File.in_memory(**_LAYOUT) as file:
        _write_header(file, book, class_names, split)
        images = file.create_group("images")
        seen: set[str] = set()
        for index, (image_id, codes) in enumerate(items):
            assert (codes.dtype, codes.ndim) == (book.dtype, 2), f"{codes.dtype} {codes.shape}"
            assert codes.size, f"{image_id!r} is empty"
            assert image_id not in seen, f"{image_id!r} twice"
            seen.add(image_id)
            dataset = images.create_dataset(
                f"{index:06d}",
                data=codes,
                chunks=_block(codes.shape),
                compression="gzip",
                compression_opts=_LEVEL,
                track_times=False,
            )
            dataset.attrs["id"] = _text(image_id)
        file.flush()
        return bytes(file.id.get_file_image())


def _block(shape: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of what is deflated together."""
    height, width = shape
    return height, _STRIP if width > _WIDE else width


def _write_header(file: h5py.File, book: Codebook, class_names: Sequence[str], split: str) -> None:
    assert len(class_names) in (0, book.num_classes), f"{len(class_names)} names for {book.num_classes} classes"
    file.attrs["format"] = _text(FORMAT)
    file.attrs["format_version"] = np.uint32(FORMAT_VERSION + bool(book.second_below))
    if book.second_below:
        file.attrs["second_below"] = np.float64(book.second_below)
    file.attrs["num_classes"] = np.uint32(book.num_classes)
    file.attrs["edges"] = np.asarray(book.edges, dtype=np.float64)
    file.attrs["rule"] = _text(str(book.to_dict()["rule"]))
    file.attrs["class_names"] = _text(json.dumps(list(class_names), ensure_ascii=False))
    if split:
        assert split in SPLITS, split
        file.attrs["split"] = _text(split)


def _text(value: str) -> np.ndarray:
    """Fixed-length UTF-8: strings of variable length live in a heap whose bytes need not repeat."""
    data = value.encode("utf-8")
    return np.array(data, dtype=h5py.string_dtype("utf-8", max(len(data), 1)))


class Shard:
    """An open shard: `ids` in the order written, `book`, `class_names`, `split`; codes are read image by image.

    `split` is "" where the shard does not say it.
    """

    def __init__(self, file: h5py.File, where: object) -> None:
        self._file, self._where = file, where
        with _damage(where):
            self.book, self.class_names, self.split = _read_header(file, where)
            self._datasets = {_string(dataset, "id"): dataset for dataset in _image_datasets(file, where)}
            if len(self._datasets) != len(file["images"]):
                raise DataError(where, "holds an image id twice")

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._datasets)

    def codes(self, image_id: str) -> np.ndarray:
        """The (H, W) codes of one image; DataError where the shard lacks it or it is damaged."""
        if image_id not in self._datasets:
            raise DataError(self._where, f"holds no image {image_id!r}")
        dataset = self._datasets[image_id]
        self._check(dataset, image_id)
        with _damage(self._where):
            codes: np.ndarray = dataset[()]
            return codes

    def check(self) -> None:
        """DataError unless every image decodes to a map of codes."""
        for image_id in self.ids:
            self.codes(image_id)

    def _check(self, dataset: h5py.Dataset, image_id: str) -> None:
        """Before a byte is decoded: nothing but what `write_shard` makes."""
        with _damage(self._where):
            # Compressed means stored here: neither virtual nor in another file.
            plain = isinstance(dataset, h5py.Dataset) and dataset.compression == "gzip"
            if not plain or (dataset.ndim, dataset.dtype) != (2, self.book.dtype):
                raise DataError(self._where, f"{image_id!r} is no map of {self.book.dtype} codes")
            if dataset.chunks not in (dataset.shape, _block(dataset.shape)):
                raise DataError(self._where, f"{image_id!r} is no map of codes in blocks as they are written here")
            if dataset.nbytes > _MAX_RATIO * dataset.id.get_storage_size():
                raise DataError(self._where, f"{image_id!r} claims {dataset.shape}, more than its bytes can hold")


def read_shard(data: bytes | Path, *, where: object = "codes") -> Shard:
    """Open a shard from its bytes or its file; DataError, in one line, for any other or damaged file."""
    if isinstance(data, Path):
        data, where = read_user_file(data, DataError), data
    with _damage(where):
        file = h5py.File.in_memory(data, **_LAYOUT)
    return Shard(file, where)


def _read_header(file: h5py.File, where: object) -> tuple[Codebook, tuple[str, ...], str]:
    if "format" not in file.attrs or _string(file, "format") != FORMAT:
        raise DataError(where, "not a shard of codes")
    version = file.attrs["format_version"]
    if version not in (FORMAT_VERSION, FORMAT_VERSION + 1):
        raise DataError(where, f"format version {version}; this version reads 1 and {FORMAT_VERSION + 1}")
    fields: dict[str, object] = {
        "num_classes": int(file.attrs["num_classes"]),
        "edges": [float(edge) for edge in file.attrs["edges"]],
        "rule": _string(file, "rule"),
    }
    if version == FORMAT_VERSION + 1:
        fields["second_below"] = float(file.attrs["second_below"])
    book, names = Codebook.from_dict(fields, where), json.loads(_string(file, "class_names"))
    if not isinstance(names, list) or any(not isinstance(name, str) for name in names):
        raise DataError(where, "class_names is not a list of names")
    split = _string(file, "split") if "split" in file.attrs else ""
    if split not in ("", *SPLITS):
        raise DataError(where, f"split {split!r} is none of {', '.join(SPLITS)}")
    return book, tuple(names), split


def _image_datasets(file: h5py.File, where: object) -> Iterator[h5py.Dataset]:
    images = file["images"]
    for name in images:
        if not isinstance(images.get(name, getlink=True), h5py.HardLink):
            raise DataError(where, f"images/{name} is a link")  # it could name any file of this machine
        yield images[name]


def _string(item: h5py.HLObject, name: str) -> str:
    value = item.attrs[name]
    if not isinstance(value, bytes | str):
        raise TypeError(f"{name} is no text")
    return bytes(value).decode("utf-8") if isinstance(value, bytes) else value


@contextmanager
def _damage(where: object) -> Iterator[None]:
    """HDF5 reports damage by many exceptions; users get one."""
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        raise DataError(where, f"damaged or no shard of codes: {error}") from None
