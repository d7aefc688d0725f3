"""Shards of codes: one HDF5 file per chunk of images, made and read in memory.

    /                 attributes: format, format_version, num_classes, edges, rule, class_names, split;
                      version 2: second_below
    /images/000000    (H, W) uint8 or uint16 codes of the first image; attribute: id
    ...

Blocks are deflated; any HDF5 reader gets the codes of an image by `file["images/000000"][()]`. A block is the whole
image, or 256 columns of an image wider than 1024: deflate looks back 32 kB, which covers more rows then. Images may
differ in size. The same codes and libraries give the same bytes; nothing depends on time or place.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook
from autolabel.user_files import read_user_file

FORMAT = "autolabel codes"
FORMAT_VERSION = 1  # without second classes; 2 with them
# `benchmarks/codes.py`: level 9 saves 5 % at a sixth of the speed, strips save 5 % at no cost.
_LEVEL = 6
_WIDE, _STRIP = 1024, 256
_LAYOUT = {"libver": ("v110", "v110")}  # pinned; metadata carries checksums from v110 on
SPLITS = ("train", "val")  # images to label; images that measure the quality of the codes
_MAX_ATTRIBUTE = 1_000_000  # bytes
_MAX_RATIO = 1040  # deflate expands by 1032 at most: a shape that claims more is false

# HDF5 would load a filter that it does not know from these folders, which the environment may name. They are forgotten
# here and not at each reading: h5py takes no lock for `h5pl`, and with a second thread within HDF5 it can crash.
while h5py.h5pl.size():
    h5py.h5pl.remove(0)


def write_shard(
    items: Iterable[tuple[str, np.ndarray]], book: Codebook, *, class_names: Sequence[str] = (), split: str = ""
) -> bytes:
    """The HDF5 file of (image id, (H, W) codes) pairs, in order; ids must differ.

    `split`: the one of SPLITS that all images belong to, or "" if it is not known.
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
    """(H, W) of a block that is deflated as one."""
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
    """Fixed-length UTF-8: strings of variable length live in a heap whose bytes are not reproducible."""
    data = value.encode("utf-8")
    return np.array(data, dtype=h5py.string_dtype("utf-8", max(len(data), 1)))


class Shard:
    """An open shard: `ids` in the order written, `book`, `class_names`, `split`; codes are read image by image.

    `split` is "" where the shard does not say it.
    """

    def __init__(self, file: h5py.File, where: object) -> None:
        self._file, self._where = file, where
        with _damage(where):
            self._size = file.id.get_filesize()
            self.book, self.class_names, self.split = _read_header(file, where)
            self._datasets = {_string(dataset, "id"): dataset for dataset in _image_datasets(file, where)}
            if len(self._datasets) != len(file["images"]):
                raise DataError(where, "holds an image id twice")

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._datasets)

    def codes(self, image_id: str) -> np.ndarray:
        """The (H, W) codes of one image; DataError if it is missing or damaged."""
        if image_id not in self._datasets:
            raise DataError(self._where, f"holds no image {image_id!r}")
        dataset = self._datasets[image_id]
        self._check(dataset, image_id)
        with _damage(self._where):
            return _inflated(dataset, self._size)

    def check(self) -> None:
        """DataError unless every image decodes to a map of codes."""
        for image_id in self.ids:
            self.codes(image_id)

    def _check(self, dataset: h5py.Dataset, image_id: str) -> None:
        """Check, before a byte is decoded, that `write_shard` could have made this data set."""
        with _damage(self._where):
            # Deflated once and in blocks, the data lies in this file: neither virtual nor in another one.
            plain = isinstance(dataset, h5py.Dataset) and _filters(dataset) == [h5py.h5z.FILTER_DEFLATE]
            if not plain or (dataset.ndim, dataset.dtype) != (2, self.book.dtype):
                raise DataError(self._where, f"{image_id!r} is not a map of {self.book.dtype} codes")
            if dataset.chunks not in (dataset.shape, _block(dataset.shape)):
                raise DataError(self._where, f"{image_id!r} is not a map of codes in blocks as they are written here")
            if dataset.nbytes > _MAX_RATIO * dataset.id.get_storage_size():
                raise DataError(self._where, f"{image_id!r} claims {dataset.shape}, more than its bytes can hold")


def _filters(dataset: h5py.Dataset) -> list[int]:
    """The ids of the filters of a data set, in order; nothing is decoded for it."""
    layout = dataset.id.get_create_plist()
    return [layout.get_filter(index)[0] for index in range(layout.get_nfilters())]


def _inflated(dataset: h5py.Dataset, file_bytes: int) -> np.ndarray:
    """The (H, W) codes, inflated here: HDF5's own filter would inflate a block to any size that its bytes give.

    Raises ValueError for a block of another size, and others of HDF5 for a missing one.
    """
    codes = np.empty(dataset.shape, dataset.dtype)
    height, width = dataset.chunks
    for left in range(0, codes.shape[1], width):
        info = dataset.id.get_chunk_info_by_coord((0, left))
        if info.byte_offset is None or not 0 < info.size <= file_bytes:
            raise ValueError(f"no block of codes at column {left}")
        mask, packed = dataset.id.read_direct_chunk((0, left))
        block = _inflate(packed, height * width * codes.itemsize)
        if mask:
            raise ValueError("a block is not deflated")
        shape = np.frombuffer(block, codes.dtype).reshape(height, width)
        codes[:, left : left + width] = shape[:, : codes.shape[1] - left]
    return codes


def _inflate(packed: bytes, size: int) -> bytes:
    """The bytes of a zlib stream that must have just this size. Raises ValueError, and never inflates more."""
    stream = zlib.decompressobj()
    try:
        block = stream.decompress(packed, size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(block) != size or not stream.eof:
        raise ValueError(f"a block does not inflate to {size} bytes")
    return block


def read_shard(data: bytes | Path, *, where: object = "codes") -> Shard:
    """Open a shard from its bytes or its file; DataError, in one line, for a damaged or foreign file."""
    if isinstance(data, Path):
        data, where = read_user_file(data, DataError), data
    with _damage(where):
        file = h5py.File.in_memory(data, **_LAYOUT)
    return Shard(file, where)


def _read_header(file: h5py.File, where: object) -> tuple[Codebook, tuple[str, ...], str]:
    if "format" not in file.attrs or _string(file, "format") != FORMAT:
        raise DataError(where, "not a shard of codes")
    version = _attribute(file, "format_version")
    if version not in (FORMAT_VERSION, FORMAT_VERSION + 1):
        raise DataError(where, f"format version {version}; this version reads 1 and {FORMAT_VERSION + 1}")
    fields: dict[str, object] = {
        "num_classes": int(_attribute(file, "num_classes")),
        "edges": [float(edge) for edge in _attribute(file, "edges")],
        "rule": _string(file, "rule"),
    }
    if version == FORMAT_VERSION + 1:
        fields["second_below"] = float(_attribute(file, "second_below"))
    book, names = Codebook.from_dict(fields, where), json.loads(_string(file, "class_names"))
    if not isinstance(names, list) or any(not isinstance(name, str) for name in names):
        raise DataError(where, "class_names is not a list of names")
    split = _string(file, "split") if "split" in file.attrs else ""
    if split not in ("", *SPLITS):
        raise DataError(where, f"split {split!r} is none of {', '.join(SPLITS)}")
    return book, tuple(names), split


def _image_datasets(file: h5py.File, where: object) -> Iterator[h5py.Dataset]:
    if not isinstance(file.get("images", getlink=True), h5py.HardLink):
        raise DataError(where, "images is a link")
    images = file["images"]
    for name in images:
        if not isinstance(images.get(name, getlink=True), h5py.HardLink):
            raise DataError(where, f"images/{name} is a link")  # it could name any file of this machine
        yield images[name]


def _attribute(item: h5py.HLObject, name: str) -> Any:
    """The value of an attribute, whose size is looked at before it is read."""
    if item.attrs.get_id(name).get_storage_size() > _MAX_ATTRIBUTE:
        raise ValueError(f"{name} is too large")
    return item.attrs[name]


def _string(item: h5py.HLObject, name: str) -> str:
    value = _attribute(item, name)
    if not isinstance(value, bytes | str):
        raise TypeError(f"{name} is not text")
    return bytes(value).decode("utf-8") if isinstance(value, bytes) else value


@contextmanager
def _damage(where: object) -> Iterator[None]:
    """Turn the many exceptions of HDF5 for damage into one DataError."""
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        raise DataError(where, f"damaged or not a shard of codes: {error}") from None
