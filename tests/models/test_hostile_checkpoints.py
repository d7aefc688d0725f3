"""Files made to run code, fill memory or crash: one clear error, and nothing happens."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.errors import WeightsError
from autolabel.models.published import import_weights
from tests.models.checkpoints import network, published, saved


class Runs:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def attacks(marker: Path) -> dict[str, object]:
    inner = pickle.dumps(Runs(os.system, f"touch {marker}"))
    scalar = np.float64(1).__reduce__()[0]  # numpy's own unpickling function
    return {
        "os.system": Runs(os.system, f"touch {marker}"),
        "eval": Runs(eval, f"__import__('pathlib').Path({str(marker)!r}).touch()"),
        "exec": Runs(exec, f"open({str(marker)!r}, 'w')"),
        "open": Runs(open, str(marker), "w"),
        "getattr": Runs(getattr, "x", "upper"),
        "pickle.loads": Runs(pickle.loads, inner),
        "numpy scalar of objects": Runs(scalar, np.dtype("O"), Runs(os.system, f"touch {marker}")),
        "numpy array of objects": np.array([Runs(os.system, f"touch {marker}")], dtype=object),
        "torch.load": Runs(torch.load, str(marker)),
        "torch.hub": Runs(torch.hub.load, str(marker), "x"),
    }


ATTACKS = list(attacks(Path("x")))


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize("place", ["alone", "beside", "among"])
@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_is_run(name: str, place: str, old: bool, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    evil: Any = attacks(marker)[name]
    weights = {"conv1.weight": torch.zeros(1)}
    held = {"alone": evil, "beside": {"state_dict": weights, "x": evil}, "among": weights | {"bn1.weight": evil}}[place]
    with pytest.raises(WeightsError) as error:
        import_weights(saved(held, old=old), "evil.pth")
    said = str(error.value)
    assert said.startswith("evil.pth: refers to ")
    assert "no code in it was run" in said
    assert said.isprintable()
    assert not marker.exists()


def test_a_plain_pickle_is_not_read(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(Runs(os.system, f"touch {marker}"), protocol=protocol)
        with pytest.raises(WeightsError, match=r"neither a PyTorch checkpoint nor|refers to|read safely"):
            import_weights(data, "x")
    assert not marker.exists()


def deflated(data: bytes) -> bytes:
    """The same archive, compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return buffer.getvalue()


def test_what_would_fill_memory() -> None:
    with pytest.raises(WeightsError, match=r"unpacks to [\d,]+ bytes from [\d,]+"):
        import_weights(deflated(saved({"conv1.weight": torch.zeros(10**6)})), "x")
    stretched = {"layer0.0.weight": torch.zeros(1).expand(10**7, 10**6)}
    with pytest.raises(WeightsError, match="has tensors of 40,000,000,000,000 bytes in a file of"):
        import_weights(saved(stretched), "x")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "x: is empty"),
        (b"\x00" * 64, "x: is neither a PyTorch checkpoint nor safetensors"),
        (b"<html>not found</html>", "x: is neither a PyTorch checkpoint nor safetensors"),
        (b"\x80\x02", "x: is no checkpoint that can be read safely"),
        (pickle.dumps({"a": 1}, protocol=4), "x: is no checkpoint that can be read safely: Unsupported operand 149;"),
        (b"PK\x03\x04" + b"\x00" * 40, "x: is a damaged archive"),
        (b"\xff" * 8 + b"{" * 9, "x: not a safetensors file, or truncated"),
    ],
)
def test_what_is_no_checkpoint(data: bytes, says: str) -> None:
    with pytest.raises(WeightsError) as error:
        import_weights(data, "x")
    assert str(error.value).startswith(says)


def test_an_archive_of_something_else() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    with pytest.raises(WeightsError, match="is no checkpoint that can be read safely"):
        import_weights(buffer.getvalue(), "x")


def test_a_script_is_not_run() -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript itself
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    # It compresses what names the code's places: with long ones it also unpacks to more than its size.
    with pytest.raises(WeightsError, match=r"can be read safely|no checkpoint of PyTorch"):
        import_weights(buffer.getvalue(), "x")


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    weights = published(network("resnet_tiny", "conv", "single"))
    return [saved(weights), saved(weights, old=True)]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 30_000), byte=st.integers(0, 255), cut=st.booleans(), old=st.booleans())
def test_damage_is_refused_or_harmless(files: list[bytes], at: int, byte: int, cut: bool, old: bool) -> None:
    """Nothing but WeightsError comes out, whichever byte is changed."""
    data = files[old]
    try:
        import_weights(data[:at] if cut else data[:at] + bytes([byte]) + data[at + 1 :], "x")
    except WeightsError:
        return
    assert not cut
