from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import CorruptArtefact, StoreError
from autolabel.store import (
    Artefact,
    digest_json,
    find,
    newest_first,
    open_draft,
    recover,
    set_aside,
    sha256_bytes,
)
from autolabel.store.files import ALGORITHM, canonical_json, digest_json_list
from autolabel.store.record import FORMAT, Commit, Entry, decode_commit, encode_commit, encode_manifest
from tests.helpers.unreadable import unreadable

KEY = "0123456789abcdef" * 4
FILES = {"a.json": b"{}", "auto/x.png": b"x" * 100, "auto/y.png": b"y" * 50}


def make(folder: Path, key: str = KEY) -> Artefact:
    draft = open_draft(folder, key)
    draft.write_many(FILES.items())
    draft.log_append("metrics.jsonl", '{"loss":1}')
    return draft.commit(meta={"classes": ("road", "car")}, provenance={"device": "cpu"})


@pytest.fixture
def artefact(tmp_path: Path) -> Artefact:
    return make(tmp_path)


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def test_what_is_committed_comes_back(artefact: Artefact, tmp_path: Path) -> None:
    found = find(tmp_path, KEY)
    assert found == artefact == recover(tmp_path, KEY)
    assert found.path == tmp_path / KEY[:16]
    assert {name: found.read(name) for name in found.names()} == FILES
    assert found.names("auto/") == ["auto/x.png", "auto/y.png"]
    assert found.file("a.json") == found.data / "a.json"
    assert found.entries[0] == Entry("a.json", 2, sha256_bytes(b"{}"))
    assert found.meta == {"classes": ["road", "car"]}
    assert found.provenance == {"device": "cpu"}
    assert found.log_lines("metrics.jsonl") == ['{"loss":1}']
    assert found.log_lines("none") == []
    assert found.verify() == found.verify(full=True) == []
    with pytest.raises(StoreError, match="has no file"):
        found.read("../COMMIT")


def test_the_root_digest_stands_for_data_and_meta_alone(tmp_path: Path) -> None:
    def digest(name: str, order: int, meta: dict[str, int], provenance: dict[str, int], extra: dict[str, bytes]) -> str:
        draft = open_draft(tmp_path / name, KEY[::order])
        for item in sorted((FILES | extra).items())[::order]:
            draft.write(*item)
        return draft.commit(meta=meta, provenance=provenance).digest

    first = digest("a", 1, {"n": 1}, {}, {})
    assert digest("b", -1, {"n": 1}, {"seconds": 3}, {}) == first
    assert digest("c", 1, {"n": 2}, {}, {}) != first
    assert digest("d", 1, {"n": 1}, {}, {"z": b""}) != first
    assert digest("e", 1, {"n": 1}, {}, {"a.json": b"[]"}) != first


def test_the_format_does_not_drift(artefact: Artefact) -> None:
    files = [{"name": n, "size": len(d), "sha256": sha256_bytes(d)} for n, d in sorted(FILES.items())]
    meta = {"classes": ["road", "car"]}
    table = {"format": 1, "algorithm": "sha256", "files": files, "meta": meta}
    assert artefact.digest == digest_json(table)
    assert artefact.digest == "62d3b0cb99e7162742fc64b9641d6e63ef22156244db45fcb35a21b22b7d3c53"


def test_the_commit_record_does_not_drift(artefact: Artefact) -> None:
    body = {"algorithm": "sha256", "format": 1, "key": KEY, "provenance": sha256_bytes(b'{"device":"cpu"}')}
    body["root"] = artefact.digest
    record = {**body, "checksum": digest_json(body)}
    assert (artefact.path / "COMMIT").read_bytes() == canonical_json(record) + b"\n"


def test_artefacts_by_age(tmp_path: Path) -> None:
    """Those that do not state when their runs began come last, and so do those that do not tell it now."""

    def started_at(name: str, **provenance: float) -> Artefact:
        return open_draft(tmp_path / name, KEY).commit(meta={}, provenance=provenance)

    old, new, never, closed = (
        started_at("a", started=1.5),
        started_at("b", started=2.5),
        started_at("c"),
        started_at("d", started=9.0),
    )
    with unreadable(closed.path / "provenance.json"):
        assert newest_first([never, old, closed, new]) == [new, old, never, closed]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["COMMIT", "manifest.json"])
def test_any_flipped_bit_of_the_records_shows(artefact: Artefact, tmp_path: Path, name: str) -> None:
    path = artefact.path / name
    for bit in range(0, 8 * path.stat().st_size, 3):
        flip(path, bit)
        with pytest.raises(CorruptArtefact):
            find(tmp_path, KEY)
        assert len(artefact.verify()) == 1
        flip(path, bit)
    assert artefact.verify() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FILES, "../provenance.json"])
def test_any_flipped_bit_of_the_files_shows_in_full(artefact: Artefact, tmp_path: Path, name: str) -> None:
    path = artefact.data / name
    for bit in range(0, 8 * path.stat().st_size, 7):
        flip(path, bit)
        found = find(tmp_path, KEY)
        assert found.verify() == []
        assert len(found.verify(full=True)) == 1
        if name in FILES:
            with pytest.raises(CorruptArtefact, match="differ"):
                found.read(name)
        else:
            assert found.provenance == {}
        flip(path, bit)


def test_verify_names_every_problem(artefact: Artefact) -> None:
    (artefact.data / "a.json").write_bytes(b"{}\n")
    (artefact.data / "auto" / "x.png").unlink()
    (artefact.data / "auto" / "z.png").write_bytes(b"")
    (artefact.data / "auto" / "y.png").write_bytes(b"z" * 50)
    quick = [
        "data/a.json: 3 bytes instead of 2",
        "data/auto/x.png: missing",
        "data/auto/z.png: not in the manifest",
    ]
    assert artefact.verify() == quick
    differs = "data/auto/y.png: its bytes differ from what was committed"
    assert artefact.verify(full=True) == [quick[0], quick[1], differs, quick[2]]


def test_links_and_pipes_are_refused(artefact: Artefact, tmp_path: Path) -> None:
    moved = (artefact.data / "auto" / "x.png").rename(tmp_path / "x.png")
    (artefact.data / "auto" / "x.png").symlink_to(moved)
    (artefact.data / "a.json").unlink()
    os.mkfifo(artefact.data / "a.json")
    assert artefact.verify() == [
        "data/a.json: missing",
        "data/a.json: neither a file nor a folder",
        "data/auto/x.png: missing",
        "data/auto/x.png: neither a file nor a folder",
    ]
    with pytest.raises(CorruptArtefact, match="symbolic link"):
        artefact.read("auto/x.png")
    with pytest.raises(CorruptArtefact, match="not a regular file"):
        artefact.read("a.json")
    shutil.move(artefact.data, tmp_path / "data")
    artefact.data.symlink_to(tmp_path / "data")
    with pytest.raises(CorruptArtefact, match="symbolic link"):
        find(tmp_path, KEY)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "", 5])
def test_a_foreign_manifest_cannot_name_files_outside(tmp_path: Path, name: object) -> None:
    manifest = encode_manifest([Entry(name, 0, sha256_bytes(b""))], {})  # type: ignore[arg-type]
    path = tmp_path / KEY[:16]
    (path / "data").mkdir(parents=True)
    (path / "manifest.json").write_bytes(manifest)
    (path / "COMMIT").write_bytes(encode_commit(Commit(KEY, sha256_bytes(manifest), sha256_bytes(b""))))
    with pytest.raises(CorruptArtefact, match="not a manifest of this format"):
        find(tmp_path, KEY)


def test_a_missing_or_renamed_artefact(artefact: Artefact, tmp_path: Path) -> None:
    other = "f" * 64
    assert find(tmp_path, other) is None
    artefact.path.rename(tmp_path / other[:16])
    with pytest.raises(CorruptArtefact, match="belongs to the key 0123456789abcdef"):
        find(tmp_path, other)
    (tmp_path / other[:16] / "COMMIT").unlink()
    with pytest.raises(CorruptArtefact, match="No such file"):
        find(tmp_path, other)


def test_touch_copy_and_clock_change_nothing(artefact: Artefact, tmp_path: Path) -> None:
    for path in artefact.path.rglob("*"):
        os.utime(path, (0, 2**33))
    shutil.copytree(artefact.path, tmp_path / "copy" / KEY[:16])
    copy = find(tmp_path / "copy", KEY)
    assert copy.verify(full=True) == artefact.verify(full=True) == []
    assert copy.digest == artefact.digest


def test_a_damaged_artefact_is_kept_aside_and_made_again(artefact: Artefact, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="exists already"):
        open_draft(tmp_path, KEY)
    for number in (1, 2, 3):
        assert set_aside(tmp_path / KEY[:16]) == tmp_path / f"{KEY[:16]}.corrupt-{number}"
        assert make(tmp_path).digest == artefact.digest
    assert (tmp_path / f"{KEY[:16]}.corrupt-1" / "data" / "a.json").exists()


def test_a_record_of_another_format_says_which(tmp_path: Path) -> None:
    record = {"format": 7, "algorithm": "md5", "key": KEY, "root": "", "provenance": ""}
    with pytest.raises(CorruptArtefact, match="format 7, md5; this version reads 1, sha256"):
        decode_commit(json.dumps(record).encode(), where="COMMIT")


def test_a_link_in_place_of_all_artefacts_is_not_followed(tmp_path: Path) -> None:
    make(tmp_path / "theirs" / "label")
    (tmp_path / "artefacts").symlink_to(tmp_path / "theirs")
    for search in (find, recover):
        with pytest.raises(StoreError, match="symbolic link"):
            search(tmp_path / "artefacts" / "label", KEY)


@given(st.lists(st.text(max_size=5), max_size=5, unique=True), st.dictionaries(st.text(max_size=3), st.floats(-1, 1)))
def test_a_manifest_is_one_canonical_document(names: list[str], meta: dict[str, float]) -> None:
    entries = [Entry(name, len(name), sha256_bytes(name.encode("utf-8", "surrogatepass"))) for name in names]
    files = [asdict(entry) for entry in sorted(entries)]
    whole = canonical_json({"format": FORMAT, "algorithm": ALGORITHM, "files": files, "meta": meta})
    assert encode_manifest(entries, meta) == whole


@given(st.lists(st.lists(st.lists(st.integers(), max_size=2) | st.text(max_size=3), max_size=3), max_size=3))
def test_the_digest_of_a_list_that_is_read_item_by_item(items: list[list[object]]) -> None:
    assert digest_json_list(items) == digest_json(items)
    assert digest_json_list(iter(item) for item in items) == digest_json(items)
    with pytest.raises(ValueError, match="JSON compliant"):
        digest_json_list([*items, [float("nan")]])
