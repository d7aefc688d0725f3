"""Shards from strangers: nothing is decoded before filters, blocks and sizes are checked, and never more than that."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook
from autolabel.labels.shards import read_shard, write_shard

BOOK = Codebook(2)
CODES = np.arange(12, dtype=np.uint8).reshape(3, 4) % BOOK.num_codes


def shard(change: Callable[[h5py.File], None], image: np.ndarray = CODES) -> bytes:
    """A valid shard that `change` has edited, with its own libraries."""
    with h5py.File.in_memory(write_shard([("x", image)], BOOK, class_names=("a", "b"))) as file:
        change(file)
        file.flush()
        return bytes(file.id.get_file_image())


def replaced(
    shape: tuple[int, int], raw: bytes | None, *, mask: int = 0, **options: object
) -> Callable[[h5py.File], None]:
    """The image, made anew with these options and the raw bytes of its one block."""

    def change(file: h5py.File) -> None:
        del file["images/000000"]
        made = file["images"].create_dataset(
            "000000", shape, np.uint8, **{"chunks": shape, "compression": "gzip", **options}
        )
        made.attrs["id"] = np.bytes_(b"x")
        if raw is not None:
            made.id.write_direct_chunk((0, 0), raw, mask)

    return change


def foreign_filter(file: h5py.File, *, alone: bool = False) -> None:
    """As a filter of a plugin is stored: its id, marked as optional so that HDF5 writes it without having it."""
    del file["images/000000"]
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((3, 4))
    if not alone:
        layout.set_deflate(6)
    layout.set_filter(32_001, h5py.h5z.FLAG_OPTIONAL, (1,))
    space = h5py.h5s.create_simple((3, 4))
    made = h5py.Dataset(h5py.h5d.create(file["images"].id, b"000000", h5py.h5t.NATIVE_UINT8, space, layout))
    made.attrs["id"] = np.bytes_(b"x")
    made.id.write_direct_chunk((0, 0), zlib.compress(CODES.tobytes()))


def group_link(file: h5py.File) -> None:
    del file["images"]
    file["images"] = h5py.ExternalLink("/etc/hostname", "/")


def huge_attribute(file: h5py.File) -> None:
    file.attrs["edges"] = np.zeros(0)
    del file.attrs["edges"]
    file.attrs.create("edges", np.zeros(200_000))


ODD: dict[str, Callable[[h5py.File], None]] = {
    "deflated twice": replaced((3, 4), zlib.compress(zlib.compress(CODES.tobytes())), shuffle=False),
    "shuffle": replaced((3, 4), zlib.compress(CODES.tobytes()), shuffle=True),
    "fletcher32": replaced((3, 4), zlib.compress(CODES.tobytes()) + b"0000", fletcher32=True),
    "foreign filter": foreign_filter,
    "foreign filter alone": partial(foreign_filter, alone=True),  # its block could be read as a deflated one
    "too long": replaced((3, 4), zlib.compress(bytes(13))),
    "too short": replaced((3, 4), zlib.compress(bytes(11))),
    "cut short": replaced((3, 4), zlib.compress(bytes(12))[:-3]),
    "no zlib stream": replaced((3, 4), b"no stream"),
    "not deflated, says its mask": replaced((3, 4), bytes(12), mask=1),
    "no block at all": replaced((3, 4), None),
    "other blocks": replaced((3, 4), None, chunks=(1, 4)),
    "images are elsewhere": group_link,
    "a large attribute": huge_attribute,
}


@pytest.mark.parametrize("name", ODD)
def test_a_shard_that_is_not_as_we_write_it_is_refused(name: str) -> None:
    with pytest.raises(DataError):
        read_shard(shard(ODD[name])).check()


def test_what_is_written_here_is_read_block_by_block() -> None:
    rng = np.random.default_rng(0)
    for shape in ((3, 4), (5, 1024), (5, 1025), (2, 1300), (1, 2048)):
        image = rng.integers(0, BOOK.num_codes, shape).astype(BOOK.dtype)
        made = shard(lambda file: None, image)
        with h5py.File.in_memory(made) as file:  # HDF5's own reader
            np.testing.assert_array_equal(file["images/000000"][()], image)
        np.testing.assert_array_equal(read_shard(made).codes("x"), image)


def bomb() -> bytes:
    """A block of twelve bytes whose stream inflates to 4 GB: 4 MB in the file."""
    packer = zlib.compressobj(9)
    raw = b"".join(packer.compress(bytes(1 << 24)) for _ in range(256)) + packer.flush()
    return shard(replaced((3, 4), raw))


@pytest.mark.slow
def test_a_stream_is_never_inflated_beyond_its_block(tmp_path: Path) -> None:
    file = tmp_path / "bomb.h5"
    file.write_bytes(bomb())
    program = """
import resource, sys
from pathlib import Path
from autolabel.errors import DataError
from autolabel.labels.shards import read_shard
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_shard(Path(sys.argv[1])).check()
except DataError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 4 * file.stat().st_size + 20_000_000
    assert resource.RUSAGE_SELF == 0


def test_no_plugin_is_ever_loaded(tmp_path: Path) -> None:
    """A library in the folder that the environment names leaves a mark when it is opened."""
    (tmp_path / "shard.h5").write_bytes(shard(foreign_filter))
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "libmark.so").write_bytes(b"no library")
    program = """
import sys
from pathlib import Path
import h5py
from autolabel.errors import DataError
from autolabel.labels.shards import read_shard
try:
    read_shard(Path(sys.argv[1])).check()
except DataError:
    print(h5py.h5pl.size())
"""
    environment = {**os.environ, "HDF5_PLUGIN_PATH": str(tmp_path / "plugins")}
    command = [sys.executable, "-c", program, str(tmp_path / "shard.h5")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n", "no folder is left to look into"


def test_reading_asks_nothing_of_the_list_of_plugin_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """h5py takes no lock for it: with a second thread within HDF5, it can crash the process."""
    import autolabel.labels.shards as module

    class NoList:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"h5pl.{name} while a shard is read")

    monkeypatch.setattr(module.h5py, "h5pl", NoList())
    read_shard(shard(lambda file: None)).check()
    with pytest.raises(AssertionError, match=r"h5pl\.size"):
        module.h5py.h5pl.size()


def test_threads_read_sound_and_damaged_shards() -> None:
    sound, damaged = shard(lambda file: None), shard(replaced(CODES.shape, b"no deflate"))

    def read(index: int) -> str:
        try:
            return str(read_shard((sound, damaged)[index % 2]).codes("x").sum())
        except DataError as error:
            return type(error).__name__

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(400))) == [str(CODES.sum()), "DataError"] * 200
