"""Codes and artefacts that point elsewhere: links of HDF5, links of the file system, shapes that are lies."""

from __future__ import annotations

import io
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.cabinet import EXPERIMENT, Cabinet, put, shard
from tests.faults.hostile import EITHER, Hostile

CUT = ("cut", "thing", "--out", "out", "-q")


def cases(things: Cabinet) -> list[Hostile]:
    shards = [Hostile(f"codes with {title}", partial(_lay, make), CUT) for title, make in _shards().items()]
    return [*shards, *_links(things)]


def _lay(make: Callable[[Any], object], where: Path) -> None:
    """A good shard, changed by `make`."""
    import h5py

    put(where / "secret.h5", shard())
    sink = io.BytesIO(shard())
    with h5py.File(sink, "r+") as file:
        make(file)
    put(where / "thing", sink.getvalue())


def _replaced(file: Any, **options: Any) -> Any:
    """The codes of the only image, anew."""
    name = next(iter(file["images"]))
    image_id = file["images"][name].attrs["id"]
    del file["images"][name]
    made = file["images"].create_dataset(name, **options)
    made.attrs["id"] = image_id
    return made


def _shards() -> dict[str, Callable[[Any], object]]:
    import h5py
    import numpy as np

    def linked(link: Any) -> Callable[[Any], object]:
        def make(file: Any) -> None:
            del file["images"]["000000"]
            file["images"]["000000"] = link

        return make

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((32, 48), "u1")
        layout[:] = h5py.VirtualSource("secret.h5", "images/000000", (32, 48), "u1")
        image_id = file["images/000000"].attrs["id"]
        del file["images/000000"]
        file.create_virtual_dataset("images/000000", layout)
        file["images/000000"].attrs["id"] = image_id

    def external(file: Any) -> None:
        _replaced(file, shape=(4, 4), dtype="u1", external=[("/etc/passwd", 0, 16)])

    def words(file: Any) -> None:
        _replaced(file, shape=(2, 2), dtype=h5py.string_dtype())

    return {
        **_filters(),
        "a link to another file": linked(h5py.ExternalLink("secret.h5", "/images/000000")),
        "a link to a file of the system": linked(h5py.ExternalLink("/etc/passwd", "/")),
        "a soft link": linked(h5py.SoftLink("/images")),
        "a link to itself": linked(h5py.SoftLink("/images/000000")),
        "a group in a ring": lambda file: file["images"].__setitem__("000001", file["images"]),
        "a virtual data set": virtual,
        "pixels in another file": external,
        "words for codes": words,
        "a shape of 2**62": lambda file: _replaced(
            file, shape=(2**31, 2**31), dtype="u1", chunks=(2**15, 2**15), compression="gzip"
        ),
        "one block of 1 GB that is not there": lambda file: _replaced(
            file, shape=(2**15, 2**15), dtype="u1", chunks=(2**15, 2**15), compression="gzip"
        ),
        "floats for codes": lambda file: _replaced(file, data=np.zeros((4, 4)), chunks=(4, 4), compression="gzip"),
        "three dimensions": lambda file: _replaced(
            file, data=np.zeros((4, 4, 4), np.uint8), chunks=(4, 4, 4), compression="gzip"
        ),
        "no images": lambda file: file.__delitem__("images"),
        "images that are no group": lambda file: (file.__delitem__("images"), file.__setitem__("images", 1)),
        "another format": lambda file: file.attrs.__setitem__("format", "evil"),
        "2**31 classes": lambda file: file.attrs.__setitem__("num_classes", 2**31),
        "edges that are no numbers": lambda file: file.attrs.__setitem__("edges", np.array([np.nan, 0.5])),
        "names that are no names": lambda file: file.attrs.__setitem__("class_names", "{}"),
        "names as deep as the stack": lambda file: file.attrs.__setitem__("class_names", "[" * 20_000),
        "an id that is a number": lambda file: file["images/000000"].attrs.__setitem__("id", 7),
    }


def _filters() -> dict[str, Callable[[Any], object]]:
    """Chunks behind filters that would fill memory, or for which HDF5 would look for a plugin of somebody."""
    import h5py

    def filtered(*ids: int, chunk: bytes = b"", side: int = 64) -> Callable[[Any], object]:
        def make(file: Any) -> None:
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_chunk((side, side))
            for number in ids:
                plan.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (9,) if number == h5py.h5z.FILTER_DEFLATE else ())
            name = next(iter(file["images"]))
            image_id = file["images"][name].attrs["id"]
            del file["images"][name]
            made = h5py.h5d.create(
                file["images"].id, name.encode(), h5py.h5t.STD_U8LE, h5py.h5s.create_simple((side, side)), plan
            )
            made.write_direct_chunk((0, 0), chunk)
            file["images"][name].attrs["id"] = image_id

        return make

    deflate, found = h5py.h5z.FILTER_DEFLATE, {}
    for times in (2, 3):
        bomb = bytes(50_000_000)
        for _ in range(times):
            bomb = zlib.compress(bomb, 9)
        found[f"50 MB deflated {times} times for 4 kB"] = filtered(*[deflate] * times, chunk=bomb)
    found["50 MB deflated for 4 kB"] = filtered(deflate, chunk=zlib.compress(bytes(50_000_000), 9))
    for number in (305, 307, 32_000, 32_001, 32_004, 32_008, 32_013, 32_015, 32_026, 65_535):  # LZO, bzip2, Blosc ...
        found[f"the filter {number} of a plugin"] = filtered(number, chunk=b"x" * 100)
        found[f"the filter {number} of a plugin behind gzip"] = filtered(number, deflate, chunk=b"x" * 100)
    return found


def _links(things: Cabinet) -> Iterator[Hostile]:
    """Symbolic links where the work folder has folders and files of its own: nothing is written through them."""
    places = {
        "the lock": "lock",
        "all artefacts": "artefacts",
        "the artefacts of a step": "artefacts/manifest",
    }
    for title, place in places.items():
        for kind in ("file", "folder"):
            make = partial(_link, place, kind)
            arguments = ("manifest", "x.toml", "--work", "out", "-q")
            yield Hostile(f"a link to a {kind} for {title}", make, arguments, EITHER | {1}, partial(_untouched, kind))
    manifest = things.good["experiment"].parent / "manifest artefact"
    for title, inside in {"an artefact": "", "its data": "data", "a file of it": "data/images.parquet"}.items():
        make = partial(_link_inside, manifest, inside)
        yield Hostile(
            f"a link for {title}", make, ("verify", "x.toml", "--work", "out", "--full"), frozenset({0, 1}), _kept
        )
        yield Hostile(f"gc of a link for {title}", make, ("gc", "x.toml", "--work", "out"), EITHER | {1}, _kept)


def _link(place: str, kind: str, where: Path) -> None:
    put(where / "x.toml", EXPERIMENT.encode())
    put(where / "precious" / "file", b"precious")
    link = where / "out" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(where / "precious" / ("file" if kind == "file" else ""), link.parent))


def _untouched(kind: str, where: Path) -> Iterator[str]:
    if (where / "precious" / "file").read_bytes() != b"precious":
        yield "wrote through a link to a file"


def _link_inside(artefact: Path, inside: str, where: Path) -> None:
    put(where / "x.toml", EXPERIMENT.encode())
    shutil.copytree(artefact, where / "precious")
    place = where / "out" / "artefacts" / "manifest" / ("ab" * 8)
    if not inside:
        place.parent.mkdir(parents=True)
        place.symlink_to(where / "precious")
        return
    shutil.copytree(artefact, place)
    target = place / inside
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    target.symlink_to(where / "precious" / inside)


def _kept(where: Path) -> Iterator[str]:
    if len(list((where / "precious" / "data").iterdir())) != 3:
        yield "deleted through a link"
