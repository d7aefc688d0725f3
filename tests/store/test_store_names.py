from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import StoreError
from autolabel.store import canonical_json, digest_json, safe_name, safe_names, sha256_bytes, sha256_file
from autolabel.store.names import check_name

# ids near the edges of the safe pattern, and any text at all
IDS = st.one_of(st.text(alphabet="aAbB._-/\n\0", max_size=6), st.text(max_size=120))


@given(IDS)
def test_safe_name_is_one_harmless_component(id: str) -> None:
    name = safe_name(id, ".png")
    assert check_name(name) == name
    assert name.isascii()
    assert "/" not in name
    assert len(name) <= 104
    assert not name.startswith(".")


@given(IDS, IDS)
def test_different_ids_have_different_names(a: str, b: str) -> None:
    assert (safe_name(a) == safe_name(b)) == (a == b)


@given(st.lists(IDS, max_size=12))
def test_safe_names_differ_even_where_case_is_ignored(ids: list[str]) -> None:
    names = safe_names(ids, ".png")
    assert names.keys() == set(ids)
    assert len({name.lower() for name in names.values()}) == len(names)
    assert names == safe_names(ids[::-1] + ids, ".png")  # in any order


def test_names_of_public_data_sets_stay_readable() -> None:
    city = "aachen_000000_000019_leftImg8bit"
    assert safe_name(city, ".png") == city + ".png"
    assert safe_names([city, "0001TP_006690", "a", "A"])["0001TP_006690"] == "0001TP_006690"
    assert safe_names(["a", "A"])["a"].startswith("_")


@pytest.mark.parametrize("id", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\n", "ä", "x" * 101, "\udcff", ".tmp-1"])
def test_unsafe_ids_become_digests(id: str) -> None:
    assert safe_name(id)[0] == "_"
    assert len(safe_name(id)) == 41


@pytest.mark.parametrize("name", ["", "/x", "x/", "a//b", "../x", "a/../b", ".tmp-1", "a\n", "a\\b", "x" * 201])
def test_unsafe_file_names_are_refused(name: str) -> None:
    with pytest.raises(StoreError, match="not a safe file name"):
        check_name(name)


def test_canonical_json_is_one_form() -> None:
    assert canonical_json({"b": (1, 2.5), "a": "é\udcff"}) == b'{"a":"\\u00e9\\udcff","b":[1,2.5]}'
    with pytest.raises(ValueError):
        canonical_json(float("nan"))


def test_digests_do_not_drift() -> None:
    # a stage key is made of these: another value would make every artefact stale
    assert digest_json({"b": 1, "a": [None, True]}) == sha256_bytes(b'{"a":[null,true],"b":1}')
    assert sha256_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_file_digest_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert sha256_file(tmp_path / "x") == sha256_bytes(b"abc" * 100_000)
