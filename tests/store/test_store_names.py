from __future__ import annotations

import re
from functools import partial
from itertools import product
from pathlib import Path, PurePosixPath
from random import Random
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import StoreError
from autolabel.store import canonical_json, digest_json, mirror_names, safe_name, sha256_bytes, sha256_file
from autolabel.store.names import check_name, fold

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


# Names that some file system takes for one, or refuses: case, Unicode form, compatibility, Windows, hidden, suffixes.
PARTS = st.one_of(
    st.sampled_from(
        ["a", "A", "é", "e\u0301", "É", "ß", "ss", "ẞ", "ſ", "s", "İ", "i\u0307", "ﬁ", "fi", "Å", "\u212b"]
    ),
    st.sampled_from(
        ["con", "NUL", "com1.x", "a.png", "A.PNG", ".", "..", "", " ", "a ", "a.", ".a", "a~1f2e3d", "a:b", "a_b"]
    ),
    st.text(alphabet="aA.~/\\\0\n \udcff", max_size=4),
    st.text(max_size=8),
    st.text(alphabet="aé", min_size=120, max_size=300),
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


@given(st.lists(PATHS, max_size=14, unique=True), st.randoms(), st.sampled_from([".png", ""]))
def test_mirrored_names_are_different_on_every_file_system(ids: list[str], random: Random, ending: str) -> None:
    names = mirror_names({id: id for id in ids}, ending)
    assert names.keys() == set(ids)
    for view in (
        str,
        str.casefold,
        str.lower,
        str.upper,
        *(partial(normalize, form) for form in ("NFC", "NFD", "NFKC")),
    ):
        files = {str(view(name)) for name in names.values()}
        folders = {str(view(parent)) for name in names.values() for parent in parents(name)}
        assert len(files) == len(ids), "two labels share a file"
        assert not files & folders, "a file has the name of a folder"
        assert len(folders) == len({parent for name in names.values() for parent in parents(name)})
    assert all(check_name(name) == name and name.endswith(ending) for name in names.values())
    random.shuffle(ids)
    assert mirror_names({id: id for id in ids}, ending) == names, "the order does not matter"


def parents(name: str) -> list[str]:
    return [parent.as_posix() for parent in PurePosixPath(name).parents[:-1]]


@pytest.mark.parametrize("length", [3, 60, 400, 5000])
def test_deep_folders_and_long_names_keep_within_bounds(length: int) -> None:
    for unit in ("d/", "straße/", "日本語", "e\u0301/", "x"):
        ids = [unit * length + tail for tail in ("end", "End", "other")]
        names = mirror_names({id: id for id in ids}, ".png")
        assert len(set(map(fold, names.values()))) == 3
        for name in names.values():
            assert check_name(name) == name
            assert all(
                len(normalize(form, part).encode()) <= 255 for form in ("NFC", "NFD") for part in name.split("/")
            )
            assert len(normalize("NFD", name).encode()) <= 1100
            assert name.count("/") < 16


@pytest.mark.parametrize(
    "id",
    ["front cam/straße", "日本/東京 1", "e\u0301", "a.b (copy)", "v2.0/x-y_z", "0001TP_006690", "-a", "a'b", "#1 50%"],
)
def test_ordinary_names_stay_as_they_are(id: str) -> None:
    others = ["front cam/strasse 2", "front/straße", "b"]
    assert mirror_names({name: name for name in [id, *others]}, ".png")[id] == id + ".png"


def test_names_that_meet_stay_readable() -> None:
    names = mirror_names({id: id for id in ("d/Straße", "d/strasse", "d/x", "con", "a\nb", "x" * 300)}, ".png")
    patterns = {
        "d/Straße": r"d/Straße~[0-9a-f]{6}\.png",
        "d/strasse": r"d/strasse~[0-9a-f]{6}\.png",
        "d/x": r"d/x\.png",
        "con": r"_con~[0-9a-f]{6}\.png",
        "a\nb": r"a_b~[0-9a-f]{6}\.png",
        "x" * 300: r"x{244}~[0-9a-f]{6}\.png",
    }
    assert all(re.fullmatch(pattern, names[id]) for id, pattern in patterns.items()), names


def test_names_do_not_drift() -> None:
    """Literals: another version must find the label of an image under the name that this one gave it."""
    wanted = {
        "d/Straße": "d/Straße~b7f3b4.png",
        "d/strasse": "d/strasse~7bb54a.png",
        "COM1.txt": "_COM1.txt~be1cf3.png",
        "lpt².x": "_lpt².x~3e0767.png",
        "CONOUT$": "_CONOUT$~4dee5f.png",
        "aux .b": "_aux .b~33116a.png",
        "\udcff": "_~8f1d0f.png",
        "..": "_.~5ec1f7.png",
        "": "_~e3b0c4.png",
        ".hid": "_hid~8901db.png",
        "end. ": "end. .png",
        "a~1f2e3d": "a~1f2e3d~60e909.png",
        "x" * 300: "x" * 244 + "~0d4e2c.png",
        "é" * 300: "é" * 81 + "~7250b6.png",
        "/".join("abcdefghijklmnopq") + "/r": "a~b3dda5/b/c/d/e/f/g/h/i/j/k/l/m/n/o_p_q~399d92/r.png",
        "/".join("ABCDEFGHIJKLMNOP"): "A~fdf6e5/B/C/D/E/F/G/H/I/J/K/L/M/N/O/P.png",  # 16 components stay
        "/".join(["z" * 199] * 4): "/".join(["z" * 199] * 4) + ".png",  # 800 bytes stay
        "/".join(["y" * 199] * 3 + ["y" * 200]): "/".join(
            ["y" * 199, "y" * 199 + "_" + "y" * 48 + "~16abcb", "y" * 200]
        )
        + ".png",
    }
    assert mirror_names({id: id for id in wanted}, ".png") == wanted
    bare = mirror_names({id: id for id in ("end. ", "..", "con.")})
    assert bare == {"end. ": "end_~478b72", "..": "__~5ec1f7", "con.": "con_~89001d"}
    assert safe_name("a b", ".png") == "_c8687a08aa5d6ed2044328fa6a697ab8e96dc342.png"


@pytest.mark.parametrize(
    ("name", "longer"),
    [
        ("a/" * 19 + "b", "a/" * 20 + "b"),
        ("x" * 255, "x" * 256),
        ("é" * 85, "é" * 85 + "x"),  # three bytes each where the accent is a character of its own
        ("/".join(["x" * 113] * 17 + ["x" * 110]), "/".join(["x" * 113] * 17 + ["x" * 111])),
    ],
)
def test_the_longest_names(name: str, longer: str) -> None:
    """20 components, 255 bytes of one in each Unicode form, 2048 bytes of all."""
    assert check_name(name) == name
    with pytest.raises(StoreError, match="not a safe file name"):
        check_name(longer)


def test_a_name_that_looks_like_a_suffixed_one_does_not_meet_it() -> None:
    suffixed = mirror_names({"a": "a", "A": "A"})["a"]
    for other in (suffixed, suffixed.upper()):
        names = mirror_names({id: id for id in ("a", "A", other)})
        assert names["a"] == suffixed
        assert len(set(map(fold, names.values()))) == 3


def test_digests_that_meet_become_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.store.names._DIGITS", (1, 64))
    ids = ["".join(case) for case in product("aA", "bB", "cC", "dD", "eE")]
    names = mirror_names({id: id for id in ids}, ".png")
    assert len(set(map(fold, names.values()))) == len(ids) == 32


def test_equal_paths_of_different_keys_have_different_names() -> None:
    names = mirror_names({"one": "a/b", "two": "a/b"}, ".png")
    assert len({*names.values()}) == 2


def test_case_and_form_never_tell_two_names_apart() -> None:
    """Every character of Unicode against its other cases and forms."""
    for letter in map(chr, range(0x110000)):
        others = {
            letter.casefold(),
            letter.upper(),
            letter.lower(),
            *(normalize(x, letter) for x in ("NFC", "NFD", "NFKC")),
        }
        assert {fold(other) for other in others} == {fold(letter)}, hex(ord(letter))


def test_names_of_public_data_sets_stay_readable() -> None:
    city = "aachen_000000_000019_leftImg8bit"
    assert safe_name(city, ".png") == city + ".png"


@pytest.mark.parametrize("id", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\n", "ä", "x" * 101, "\udcff", ".tmp-1"])
def test_unsafe_ids_become_digests(id: str) -> None:
    assert safe_name(id)[0] == "_"
    assert len(safe_name(id)) == 41


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/x",
        "x/",
        "a//b",
        "../x",
        "a/../b",
        ".tmp-1",
        "a\n",
        "a\\b",
        "x" * 256,
        "é" * 128,
        "a:b",
        "a ",
        "a.",
        "\udcff",
        "\u202ea",
        "a/" * 20 + "b",
    ],
)
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
