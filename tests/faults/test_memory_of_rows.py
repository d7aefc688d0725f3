"""Memory for each row of what a stage holds: the growth of the traced peak between two numbers of rows.

The bounds lie between what packed rows take and what an object for each row took (in brackets).
"""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from autolabel.config.sources import FolderConfig
from autolabel.data import build
from autolabel.data.leaking_split import frames_beside
from autolabel.data.scan import ScannedImage
from autolabel.data.schema import ImageRow
from autolabel.data.sources.base import SourceImage
from autolabel.data.sources.registry import plan
from autolabel.store import InputDigests
from autolabel.store.record import Entry, decode_manifest, encode_manifest

FEW, MANY = 2000, 10_000


def sha256(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def bytes_per_row(make: Callable[[int], Callable[[], object]]) -> float:
    """Growth of the peak while the function runs that `make` returns for a number of rows."""
    peaks = []
    for rows in (FEW, FEW, MANY):  # the first run pays for imports and caches
        run = make(rows)
        tracemalloc.start()
        try:
            kept = run()
            peaks.append(tracemalloc.get_traced_memory()[1])
            del kept
        finally:
            tracemalloc.stop()
    return (peaks[2] - peaks[1]) / (MANY - FEW)


def memory_of_digests(folder: Path, rows: int) -> Path:
    lines = (f'"images/{n:06}.jpg":[1165,{10**18 + n},{10**18 + n},{n},"{sha256(n)}"]' for n in range(rows))
    body = f'{{"format":1,"roots":{{"/data":{{{",".join(lines)}}}}}}}'.encode()
    file = folder / f"digests-{rows}"
    file.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    return file


def test_remembered_digests(tmp_path: Path) -> None:
    def make(rows: int) -> Callable[[], object]:
        files = InputDigests(memory_of_digests(tmp_path, rows))
        return lambda: (files, files.of_files(Path("/data"), []))

    assert bytes_per_row(make) < 300  # (744)


def test_written_digests(tmp_path: Path) -> None:
    def make(rows: int) -> Callable[[], object]:
        files = InputDigests(memory_of_digests(tmp_path, rows))
        files.of_files(Path("/other"), [])
        files.forget(Path("/data"), ["images/000000.jpg"])
        return files.remember

    assert bytes_per_row(make) < 250  # (498)


def entries(rows: int) -> list[Entry]:
    return [Entry(f"labels/{n:06}.png", n, sha256(n)) for n in range(rows)]


def test_the_manifest_of_an_artefact_as_it_is_read() -> None:
    def make(rows: int) -> Callable[[], object]:
        data = bytes(encode_manifest(entries(rows), {}))
        return lambda: decode_manifest(data, where="manifest.json")

    assert bytes_per_row(make) < 200  # (517)


def test_the_manifest_of_an_artefact_as_it_is_written() -> None:
    def make(rows: int) -> Callable[[], object]:
        files = decode_manifest(bytes(encode_manifest(entries(rows), {})), where="manifest.json")[0]
        return lambda: encode_manifest(files, {})

    assert bytes_per_row(make) < 200  # (359)


def test_the_listing_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real one asks for as many bytes as a text may have, and so hides the peak.
    monkeypatch.setattr("autolabel.data.sources.folder.read_text", lambda file, *rest: file.read_text())

    def make(rows: int) -> Callable[[], object]:
        root = tmp_path / str(rows)
        for name in ("images", "masks"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "classes.toml").write_text('names = ["a", "b"]')
        for number in range(rows):
            (root / "images" / f"{number:06}.jpg").touch()
        (root / "masks" / "000000.png").touch()
        return lambda: plan(FolderConfig(source="folder", root=root))

    assert bytes_per_row(make) < 410  # (467)


def test_the_rows_of_a_scan() -> None:
    images = [SourceImage(f"{n:06}", "train", "", f"images/{n:06}.jpg") for n in range(MANY)]

    def make(rows: int) -> Callable[[], object]:
        def run() -> object:
            tables = build._Tables()
            for n, image in enumerate(images[:rows]):
                digest = sha256(n)
                row = ImageRow(image.id, image.split, image.group, "source", image.path, digest, n, 64, 48)
                scanned = ScannedImage((row, ()), thumbnail=n.to_bytes(4, "little") * 64)
                tables.add(build._Outcome(image, scanned, {}, {image.path: digest}))
            return tables

        return run

    assert bytes_per_row(make) < 450  # (772)


@pytest.mark.parametrize("num_val", [1, 10])
def test_films_of_a_split(num_val: int) -> None:
    thumbnails = [bytes([n % 256]) * 256 for n in range(256)]

    def make(rows: int) -> Callable[[], object]:
        train = [(f"train/{n:06}.jpg", thumbnails[n % 256]) for n in range(rows)]
        val = [(f"val/{n * 7:06}.jpg", thumbnails[n]) for n in range(num_val)]
        return lambda: frames_beside(val, train)

    assert bytes_per_row(make) < 100  # (253)
