"""Networks that a command line names: a weights file, a teacher or student artefact, or a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.artifacts import WEIGHTS, read_weights
from autolabel.errors import WeightsError
from autolabel.hub.record import CONFIG
from autolabel.store import Artefact, InputDigests, sha256_bytes

if TYPE_CHECKING:
    from autolabel.models import Network, NetworkCard


def open_network(path: Path) -> tuple[Network, NetworkCard]:
    """Open a weights file, an artefact, or a Hugging Face folder (which keeps its own classes)."""
    return open_with_digest(path)[:2]


def open_with_digest(path: Path) -> tuple[Network, NetworkCard, str]:
    """As `open_network`, with the digest of the bytes that were read."""
    if (path / CONFIG).is_file():
        from autolabel.models.huggingface import model_as_it_is
        from autolabel.stages import huggingface_folder

        digest = huggingface_folder.folder_identity(str(path), InputDigests())
        model, card, _ = model_as_it_is(huggingface_folder.read_files(str(path), digest), None, {})
        return model, card, digest
    data = read_model(path)
    return *trained_network(data, path), sha256_bytes(data)


def trained_network(data: bytes, where: object) -> tuple[Network, NetworkCard]:
    """Raises WeightsError, also for an import with untrained layers."""
    from autolabel.models import network_from_bytes
    from autolabel.models.weights_file import check_trained

    model, card = network_from_bytes(data, where)
    check_trained(card, where)
    return model, card


def read_model(path: Path) -> bytes:
    """Read a file, or an artefact's weights with their digest checked."""
    if not path.is_dir():
        return read_weights(path)
    if not (path / "COMMIT").is_file() or WEIGHTS not in (artefact := Artefact.open(path)).names():
        remedy = f"give one, the path of a {WEIGHTS}, or a Hugging Face folder"
        raise WeightsError(path, "is no teacher or student artefact", remedy)
    return artefact.read(WEIGHTS)
