"""A Hugging Face model on disk: a folder, or what the local cache holds under a hub id. Nothing is ever fetched."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from autolabel.errors import ConfigError, WeightsError
from autolabel.given import read_given, reading
from autolabel.store import digest_json, sha256_file

if TYPE_CHECKING:
    from autolabel.models.huggingface import Files

CONFIG = "config.json"
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")  # older and newer name; the first found counts
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_LARGEST_JSON = 16 * 2**20
_REMEDY = "give a folder written by save_pretrained"
_PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")


def folder_of(name: str) -> Path:
    """The folder of that name, or the newest snapshot of that hub id in the local cache. Raises WeightsError."""
    folder = Path(name)
    if folder.is_dir():
        return folder
    if _HUB_ID.fullmatch(name) and (cached := _cached(name)) is not None:
        return cached
    raise WeightsError(name, "is neither a folder nor in the local Hugging Face cache", "nothing is downloaded here")


def _cached(hub_id: str) -> Path | None:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise ConfigError(hub_id, "a hub id needs huggingface_hub", "pip install 'autolabel[hf]'") from None
    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def identity(name: str) -> str:
    """Digest of the files that are used, wherever they lie."""
    folder = folder_of(name)
    used = [CONFIG, *_processor(folder), *weight_files(folder)]
    return digest_json({file: _digest(folder / file) for file in used})


def read_files(name: str) -> Files:
    """The files of a model, its weights to be read one by one. Raises WeightsError."""
    from autolabel.models.huggingface import Files

    folder = folder_of(name)
    processor = next(iter(_processor(folder)), None)
    return Files(
        where=str(folder),
        config=_small(folder / CONFIG),
        processor=None if processor is None else _small(folder / processor),
        weights=[partial(read_given, folder / file, WeightsError, _REMEDY) for file in weight_files(folder)],
    )


def weight_files(folder: Path) -> list[str]:
    """Names of the safetensors files, in order: one, or those that an index lists. Raises WeightsError."""
    if (folder / _WHOLE).is_file():
        return [_WHOLE]
    if (folder / _INDEX).is_file():
        return _shards(folder / _INDEX)
    pickled = sorted(file.name for pattern in _PICKLED for file in folder.glob(pattern))
    if pickled:
        remedy = "save it as safetensors: model.save_pretrained(folder) of transformers 5 does"
        raise WeightsError(folder, f"holds {pickled[0]}, and opening that could run a stranger's code", remedy)
    raise WeightsError(folder, f"holds no {_WHOLE}", _REMEDY)


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
    return [name for name in _PROCESSORS if (folder / name).is_file()][:1]


def _small(file: Path) -> bytes:
    return read_given(file, WeightsError, _REMEDY, at_most=_LARGEST_JSON)


def _digest(file: Path) -> str:
    with reading(file, WeightsError, _REMEDY):
        return sha256_file(file)
