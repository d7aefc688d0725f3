"""The local record of a fetch, `fetched.json` beside the files in the Hugging Face cache, and what it says of them.

It is written last, so an id with a record has all its files. It names the commit, and the size and sha256 of each file:
a later fetch and every use must find just these. Nothing here opens a connection.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, ValidationError

from autolabel.config.base import Config
from autolabel.distribution import install_command
from autolabel.errors import ConfigError, WeightsError
from autolabel.hub.table import Setting
from autolabel.store import canonical_json, digest_json, sha256_file
from autolabel.user_files import read_user_file, reading

RECORD = "fetched.json"
WHOLE = "model.safetensors"
CONFIG = "config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")  # older and newer name; the first found counts
TOKENIZER = "tokenizer.json"
INDEX = "model.safetensors.index.json"
COMMIT = re.compile(r"[0-9a-f]{40}")
INSTALL = install_command("fetch")

Pin = Literal["autolabel", "revision", "first fetch"]  # who chose the commit

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?")
_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
_MAX_BYTES = 1_000_000


class FetchedFile(Config):
    name: Annotated[str, Field(pattern=_NAME)]
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Fetched(Config):
    """One id in the cache."""

    format: Literal[1] = 1
    id: str
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    pinned_by: Pin
    setting: Setting
    data: str  # that they were trained on; empty where the card does not say
    licence: str
    files: Annotated[tuple[FetchedFile, ...], Field(min_length=1)]

    @property
    def sha256(self) -> str:
        """Digest of the weights: that of the file, or of the list of shards."""
        weights = {file.name: file.sha256 for file in self.files if file.name.endswith(".safetensors")}
        return weights[WHOLE] if WHOLE in weights else digest_json(weights)

    def remarks(self) -> dict[str, JsonValue]:
        """For the card of the weights, and everything made from them."""
        return {
            "pretrained": {
                "on": self.data,
                "hub": f"{self.id}@{self.commit}",
                "sha256": self.sha256,
                "licence": self.licence,
                "source": f"https://huggingface.co/{self.id}",
            }
        }

    def to_bytes(self) -> bytes:
        return canonical_json(self.model_dump(mode="json")) + b"\n"


def is_hub_id(name: str) -> bool:
    return _ID.fullmatch(name) is not None and len(name) <= 96 and ".." not in name and "--" not in name


def cache_folder(where: object) -> Path:
    """The folder of the cache, which the hub's own variables choose (HF_HUB_CACHE, HF_HOME). Raises ConfigError."""
    try:
        from huggingface_hub import constants
    except ImportError:
        raise ConfigError(where, "a hub id needs the package huggingface_hub", INSTALL) from None
    return Path(constants.HF_HUB_CACHE)


def repository_folder(hub_id: str, where: object) -> Path:
    """The folder of an id in the cache, whether it exists or not. Raises ConfigError."""
    return cache_folder(where) / "--".join(("models", *hub_id.split("/")))


def snapshot_folder(record: Fetched, where: object) -> Path:
    """The folder that holds the files of a record."""
    return repository_folder(record.id, where) / "snapshots" / record.commit


def fetched(hub_id: str, where: object) -> Fetched | None:
    """The record of an id; None if it was not fetched. `where` names the setting. ConfigError, or WeightsError."""
    path = repository_folder(hub_id, where) / RECORD
    if not path.exists():
        return None
    try:
        record = Fetched.model_validate_json(read_user_file(path, WeightsError, at_most=_MAX_BYTES))
    except ValidationError:
        record = None
    if record is None or record.id != hub_id:
        raise WeightsError(path, f"is no record of {hub_id}", f"delete it and run: autolabel fetch {hub_id}")
    return record


def require_fetched(hub_id: str, setting: Setting, where: object) -> Fetched:
    """The record of an id that `setting` names. ConfigError if there is none, WeightsError if its files are gone."""
    record = fetched(hub_id, where)
    if record is None:
        raise ConfigError(where, f"{hub_id} has not been fetched", f"autolabel fetch {hub_id}")
    if record.setting != setting:
        raise ConfigError(where, f"{hub_id} {WRONG_SETTING[setting]}", f"write {usage(record)}")
    for file in record.files:
        path = snapshot_folder(record, where) / file.name
        if not path.is_file():
            raise WeightsError(path, "is missing from the cache", again(record))
    return record


WRONG_SETTING = {
    "weights": "is a whole network of the transformers library, no trunk",
    "huggingface": "is a trunk alone, no network of the transformers library",
}


def usage(record: Fetched) -> str:
    """The line of an experiment that names these weights."""
    value = record.id if record.setting == "huggingface" else f"hf:{record.id}"
    return f'{record.setting} = "{value}"'


def check_digest(record: Fetched, name: str, sha256: str, where: object) -> None:
    """Raises WeightsError unless a file of the cache has the recorded digest."""
    if any(file.name == name and file.sha256 == sha256 for file in record.files):
        return
    path = snapshot_folder(record, where) / name
    raise WeightsError(path, "is not the file that was fetched: its sha256 differs", again(record))


def damaged_files(record: Fetched, where: object) -> list[FetchedFile]:
    """The recorded files that are missing from the cache or hold other bytes."""
    return [file for file in record.files if not holds(snapshot_folder(record, where) / file.name, file)]


def holds(path: Path, file: FetchedFile) -> bool:
    """Whether a path holds just these bytes; links are followed."""
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    with reading(path, WeightsError):
        return sha256_file(path) == file.sha256


def again(record: Fetched) -> str:
    return f"autolabel fetch {record.id}"
