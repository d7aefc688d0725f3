"""Shards: round trip, repeatable bytes, plain HDF5 for others, and one error for whatever else a file may be."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import FORMAT, read_shard, write_shard
from tests.helpers.paths import ROOT

NAMES = tuple(f"class {i} é" for i in range(19))


def make_items(book: Codebook, shapes: list[tuple[int, int]], seed: int = 0) -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        (f"city/{i:03d}", rng.integers(0, book.num_codes, shape).astype(book.dtype)) for i, shape in enumerate(shapes)
    ]


ITEMS = make_items(Codebook(19), [(9, 7), (1, 1), (6, 30)])
SHARD = write_shard(ITEMS, Codebook(19), class_names=NAMES)

IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.dictionaries(IDS, st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=4),
    st.sampled_from(
        [Codebook(2), Codebook(19), Codebook(66), Codebook(5, [0.123, 0.5]), Codebook(19, second_below=0.9)]
    ),
)
def test_round_trip(shapes: dict[str, tuple[int, int]], book: Codebook) -> None:
    items = [(name, codes) for name, (_, codes) in zip(shapes, make_items(book, list(shapes.values())), strict=True)]
    shard = read_shard(write_shard(items, book))
    assert (shard.ids, shard.book, shard.class_names) == (tuple(shapes), book, ())
    for name, codes in items:
        got = shard.codes(name)
        assert got.dtype == codes.dtype
        np.testing.assert_array_equal(got, codes)


def test_file_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "00000.h5"
    path.write_bytes(SHARD)
    shard = read_shard(path)
    assert shard.class_names == NAMES
    np.testing.assert_array_equal(shard.codes("city/001"), ITEMS[1][1])
    with pytest.raises(DataError, match="holds no image 'other'"):
        shard.codes("other")
    with pytest.raises(DataError, match="No such file"):
        read_shard(tmp_path / "none.h5")


@pytest.mark.slow
def test_same_bytes_in_another_process() -> None:
    code = "import hashlib, tests.labels.test_labels_shards as t; print(hashlib.sha256(t.SHARD).hexdigest())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == hashlib.sha256(SHARD).hexdigest()


def test_others_read_it_as_plain_hdf5(tmp_path: Path) -> None:
    (tmp_path / "shard.h5").write_bytes(SHARD)
    with h5py.File(tmp_path / "shard.h5") as file:
        np.testing.assert_array_equal(file["images/000002"][()], ITEMS[2][1])
        assert file["images/000002"].attrs["id"] == b"city/002"
        assert file.attrs["edges"].tolist() == list(Codebook(19).edges)
        assert b"sum(exp(l - max(l))) < 1/t" in file.attrs["rule"]


def test_smooth_codes_take_a_fraction_of_a_byte() -> None:
    codes = np.kron(np.arange(128, dtype=np.uint8).reshape(8, 16), np.ones((32, 32), np.uint8))
    assert len(write_shard([("a", codes)], Codebook(19))) < 0.05 * codes.size


def unchanged(data: bytes) -> bool:
    shard = read_shard(data)
    same = shard.ids == tuple(name for name, _ in ITEMS) and shard.book == Codebook(19) and shard.class_names == NAMES
    return same and all(np.array_equal(shard.codes(name), codes) for name, codes in ITEMS)


@pytest.mark.slow
def test_damage_is_noticed_or_harmless() -> None:
    positions = range(0, len(SHARD), 5)
    noticed = 0
    for position in positions:
        damaged = bytearray(SHARD)
        damaged[position] ^= 1 << position % 8
        try:
            assert unchanged(bytes(damaged)), position
        except DataError:
            noticed += 1
    assert noticed > len(positions) // 3  # the others lie in room that HDF5 left unused


def test_cut_short() -> None:
    for length in range(0, len(SHARD), 7):
        with pytest.raises(DataError):
            unchanged(SHARD[:length])


@given(st.binary(max_size=200))
def test_foreign_bytes(data: bytes) -> None:
    for head in (b"", b"\x89HDF\r\n\x1a\n"):
        with pytest.raises(DataError):
            read_shard(head + data)


def hostile(tamper) -> bytes:
    with h5py.File.in_memory(SHARD, libver=("v110", "v110")) as file:
        tamper(file)
        file.flush()
        return bytes(file.id.get_file_image())


def replace(**settings: object):
    def tamper(file: h5py.File) -> None:
        del file["images/000000"]
        dataset = file["images"].create_dataset("000000", **settings)
        dataset.attrs["id"] = np.bytes_(b"city/000")

    return tamper


def soft_link(file: h5py.File) -> None:
    del file["images/000000"]
    file["images/000000"] = h5py.SoftLink("/images/000001")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((9, 7), np.uint8)
    layout[:] = h5py.VirtualSource("/other.h5", "x", (9, 7))
    del file["images/000000"]
    file["images"].create_virtual_dataset("000000", layout)
    file["images/000000"].attrs["id"] = np.bytes_(b"city/000")


def attribute(name: str, value: object):
    def tamper(file: h5py.File) -> None:
        file.attrs[name] = value

    return tamper


def group(file: h5py.File) -> None:
    del file["images/000000"]
    file["images"].create_group("000000").attrs["id"] = np.bytes_(b"city/000")


def twice(file: h5py.File) -> None:
    file["images/000001"].attrs["id"] = np.bytes_(b"city/000")


def no_id(file: h5py.File) -> None:
    del file["images/000001"].attrs["id"]


def no_images(file: h5py.File) -> None:
    del file["images"]


CODES = ITEMS[0][1]
HOSTILE = {
    "soft link": soft_link,
    "virtual": virtual,
    "external storage": replace(shape=(9, 7), dtype=np.uint8, external=[("/etc/hostname", 0, 63)]),
    "claims a terabyte": replace(shape=(2**20, 2**20), dtype=np.uint8, chunks=(2**16, 2**15), compression="gzip"),
    "one block of 4 GB": replace(
        shape=(2**16, 2**16 - 1), dtype=np.uint8, chunks=(2**16, 2**16 - 1), compression="gzip"
    ),
    "never written": replace(shape=(9, 7), dtype=np.uint8, chunks=(9, 7), compression="gzip"),
    "other blocks": replace(data=CODES, chunks=(1, CODES.shape[1]), compression="gzip"),
    "two bytes": replace(data=CODES.astype(np.uint16), chunks=CODES.shape, compression="gzip"),
    "floats": replace(data=CODES.astype(np.float32), chunks=CODES.shape, compression="gzip"),
    "strings": replace(data=np.array([[b"a"]]), chunks=(1, 1), compression="gzip"),
    "three axes": replace(data=CODES[None], chunks=(1, *CODES.shape), compression="gzip"),
    "other filter": replace(data=CODES, chunks=CODES.shape, compression="lzf"),
    "group for an image": group,
    "id twice": twice,
    "no id": no_id,
    "no images": no_images,
    "format": attribute("format", "labels"),
    "format of another type": attribute("format", np.arange(5)),
    "version": attribute("format_version", 3),
    "second classes": attribute("format_version", 2),
    "rule": attribute("rule", np.bytes_(b"p >= t")),
    "rule is no text": attribute("rule", np.bytes_(b"\xff\xfe")),
    "edges": attribute("edges", np.array([0.5, np.nan])),
    "edges of no numbers": attribute("edges", np.bytes_(b"half")),
    "classes": attribute("num_classes", np.int64(-1)),
    "other classes": attribute("num_classes", np.uint32(66)),  # codes would take two bytes
    "class names": attribute("class_names", np.bytes_(b"{}")),
    "class names of no JSON": attribute("class_names", np.bytes_(b"[")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name: str) -> None:
    data = hostile(HOSTILE[name])
    with pytest.raises(DataError) as caught:
        read_shard(data, where="x.h5").codes("city/000")
    assert str(caught.value).startswith("x.h5: ")
    assert "\n" not in str(caught.value)


def test_link_to_a_good_image_in_another_file(tmp_path: Path) -> None:
    (tmp_path / "other.h5").write_bytes(SHARD)

    def link(file: h5py.File) -> None:
        del file["images/000000"]
        file["images/000000"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/images/000000")

    data = hostile(link)
    with pytest.raises(DataError, match="images/000000 is a link"):
        read_shard(data)


def test_format_name_is_kept() -> None:
    assert FORMAT == "autolabel codes"  # files out there carry it


def test_the_format_says_whether_there_are_second_classes() -> None:
    """A reader that knows version 1 only refuses what it would misread."""
    for book, version in ((Codebook(19), 1), (Codebook(19, second_below=0.95), 2)):
        with h5py.File.in_memory(write_shard(make_items(book, [(3, 4)]), book)) as file:
            assert file.attrs["format_version"] == version
            assert ("second_below" in file.attrs) == (version == 2)


def test_the_split_is_in_the_file(tmp_path: Path) -> None:
    book = Codebook(19)
    items = make_items(book, [(3, 4)])
    for split in ("train", "val"):
        (tmp_path / "any name").write_bytes(write_shard(items, book, split=split))
        assert read_shard(tmp_path / "any name").split == split
        with h5py.File(tmp_path / "any name") as file:
            assert file.attrs["split"].decode() == split
    assert read_shard(write_shard(items, book)).split == "", "as shards of earlier versions"
    with h5py.File(tmp_path / "any name", "r+") as file:
        file.attrs["split"] = np.bytes_(b"trian")
    with pytest.raises(DataError, match="split 'trian' is none of train, val"):
        read_shard(tmp_path / "any name")


@pytest.mark.parametrize("width", [1024, 1025, 2048, 2500])
def test_wide_images_are_deflated_in_strips(width: int) -> None:
    """Of 256 columns, the last one perhaps narrower; any reader puts them together."""
    book = Codebook(19, second_below=0.9)
    items = make_items(book, [(5, width), (1, width)])
    data = write_shard(items, book)
    shard = read_shard(data)
    with h5py.File.in_memory(data) as file:
        for (image_id, codes), dataset in zip(items, file["images"].values(), strict=True):
            assert dataset.chunks == (len(codes), 256 if width > 1024 else width)
            np.testing.assert_array_equal(dataset[()], codes)
            np.testing.assert_array_equal(shard.codes(image_id), codes)


def test_shards_of_whole_wide_images_are_read() -> None:
    """As they were written before."""
    book = Codebook(19)
    ((image_id, codes),) = make_items(book, [(5, 2048)])
    with h5py.File.in_memory(write_shard([(image_id, codes)], book)) as file:
        del file["images/000000"]
        dataset = file.create_dataset("images/000000", data=codes, chunks=codes.shape, compression="gzip")
        dataset.attrs["id"] = np.bytes_(image_id.encode())
        file.flush()
        np.testing.assert_array_equal(read_shard(bytes(file.id.get_file_image())).codes(image_id), codes)
