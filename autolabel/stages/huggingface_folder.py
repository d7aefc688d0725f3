"""A Hugging Face model on disk: a folder, or the local cache's copy of a hub id.

Nothing is fetched here: `autolabel fetch` does that, and what it recorded of an id is checked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.errors import ConfigError, WeightsError
from autolabel.hub import Fetched, fetched, require_fetched, snapshot_folder
from autolabel.hub.record import CONFIG, INDEX, INSTALL, PROCESSORS, TOKENIZER, WHOLE, check_digest, is_hub_id
from autolabel.store import InputDigests, digest_json, sha256_bytes
from autolabel.user_files import read_user_file, reading

if TYPE_CHECKING:
    from autolabel.models.huggingface import FolderFiles


_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors")
_LARGEST_JSON = 16 * 2**20
PROMPTED = ("sam3", "sam3_video")  # model types that are asked by text; known here without torch
_REMEDY = "give a folder written by save_pretrained"
_PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")


def folder_of(name: str) -> Path:
    """The folder of that name, or that hub id's snapshot in the local cache: the one fetched, else the newest.

    Raises ConfigError and WeightsError.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if (record := record_of(name)) is not None:
        return snapshot_folder(record, name)
    if is_hub_id(name) and (cached := _cached(name)) is not None:
        return cached
    remedy = "nothing is downloaded here" + (f": autolabel fetch {name}" if is_hub_id(name) else "")
    raise WeightsError(name, "is neither a folder nor in the local Hugging Face cache", remedy)


def record_of(name: str) -> Fetched | None:
    """The record of a hub id that `autolabel fetch` brought; a folder of that name comes first."""
    if Path(name).is_dir() or not is_hub_id(name) or fetched(name, name) is None:
        return None
    return require_fetched(name, "huggingface", name)


def _cached(hub_id: str) -> Path | None:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise ConfigError(hub_id, "a hub id needs the package huggingface_hub", INSTALL) from None
    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def folder_identity(name: str, files: InputDigests) -> str:
    """Digest of the files that are used, wherever they lie, and of the licence and source of fetched ones."""
    return _identity_of(name, _folder_digests(folder_of(name), files))


def _folder_digests(folder: Path, files: InputDigests) -> dict[str, str]:
    """Digest of each file that is used."""
    return {file: _digest(folder / file, files) for file in _files_used(folder)}


def _identity_of(name: str, digests: Mapping[str, str]) -> str:
    record = record_of(name)
    if record is None:
        return digest_json(dict(digests))
    for file, digest in digests.items():
        check_digest(record, file, digest, name)
    return digest_json({**digests, **record.remarks()})


def read_files(name: str, identity: str | None = None) -> FolderFiles:
    """The files of a model, its weights to be read one by one.

    Raises WeightsError, also where the files are not those of `identity`.
    """
    from autolabel.models.huggingface import FolderFiles

    folder = folder_of(name)
    processor, tokenizer = next(iter(_processor(folder)), None), next(iter(_tokenizer(folder)), None)
    weights = weight_files(folder)
    digests: dict[str, str] = {}
    if identity is not None:
        digests = _folder_digests(folder, InputDigests())
        if _identity_of(name, digests) != identity:
            raise changed_file(folder)
    return FolderFiles(
        where=str(folder),
        config=same_bytes(_small(folder / CONFIG), folder / CONFIG, digests.get(CONFIG)),
        processor=None if processor is None else same_bytes(_small(folder / processor), folder, digests.get(processor)),
        weights=[partial(_read_weights, folder / file, digests.get(file)) for file in weights],
        tokenizer=None if tokenizer is None else same_bytes(_small(folder / tokenizer), folder, digests.get(tokenizer)),
    )


def _read_weights(file: Path, digest: str | None) -> bytes:
    return same_bytes(read_user_file(file, WeightsError, _REMEDY), file, digest)


def same_bytes(data: bytes, where: object, digest: str | None) -> bytes:
    """The bytes. WeightsError unless they have the digest that the step's key names."""
    if digest is not None and sha256_bytes(data) != digest:
        raise changed_file(where)
    return data


def changed_file(where: object) -> WeightsError:
    what = "changed since the run began: it is no longer what the step's key names"
    return WeightsError(where, what, "run the same command again, and leave the file alone while it runs")


def weight_files(folder: Path) -> list[str]:
    """Names of the safetensors files, in order: one, or those that an index lists. Raises WeightsError."""
    if (folder / WHOLE).is_file():
        return [WHOLE]
    if (folder / INDEX).is_file():
        return _shards(folder / INDEX)
    pickled = sorted(file.name for pattern in _PICKLED for file in folder.glob(pattern))
    if pickled:
        remedy = "save it as safetensors: model.save_pretrained(folder) of transformers 5 does"
        raise WeightsError(folder, f"holds {pickled[0]}, and opening that could run a stranger's code", remedy)
    raise WeightsError(folder, f"holds no {WHOLE}", _REMEDY)


def _shards(index: Path) -> list[str]:
    try:
        names = set(json.loads(_small(index))["weight_map"].values())
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise WeightsError(index, "is no index of safetensors files") from None
    for name in names:
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise WeightsError(index, f"lists {name!r}, which is no file beside it")
    return sorted(names)


def _processor(folder: Path) -> list[str]:
    return [name for name in PROCESSORS if (folder / name).is_file()][:1]


def _tokenizer(folder: Path) -> list[str]:
    """The tokenizer of a network that is asked by text. Others have none, or one that nothing here uses."""
    with suppress(ValueError, RecursionError, AttributeError):
        if json.loads(_small(folder / CONFIG)).get("model_type") in PROMPTED:
            return [name for name in (TOKENIZER,) if (folder / name).is_file()]
    return []


def _files_used(folder: Path) -> tuple[str, ...]:
    """The files of a Hugging Face folder that make the network. Raises WeightsError."""
    return (CONFIG, *_processor(folder), *_tokenizer(folder), *weight_files(folder))


def _small(file: Path) -> bytes:
    return read_user_file(file, WeightsError, _REMEDY, at_most=_LARGEST_JSON)


def _digest(file: Path, files: InputDigests) -> str:
    with reading(file, WeightsError, _REMEDY):
        return files.of_file(file)
