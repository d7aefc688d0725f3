"""The initial model of a teacher or student: a fresh network, weights of ours, or a Hugging Face model on disk.

A Hugging Face model is a folder or the local cache's copy of a hub id. Nothing is fetched here: `autolabel fetch` does
that, and what it recorded of an id is checked here and goes into the key and the card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autolabel.artifacts import read_initial_weights, read_weights
from autolabel.config.networks import HUB, TEACHER_WEIGHTS, ModelConfig, TrainConfig
from autolabel.errors import ConfigError, WeightsError
from autolabel.hub import ENTRIES, Fetched, fetched, require_fetched, snapshot_folder
from autolabel.hub.record import CONFIG, INDEX, INSTALL, PROCESSORS, TOKENIZER, WHOLE, again, check_digest, is_hub_id
from autolabel.store import Artefact, InputDigests, digest_json, sha256_bytes
from autolabel.user_files import read_user_file, reading

if TYPE_CHECKING:
    from autolabel.models import Network, NetworkCard
    from autolabel.models.huggingface import FolderFiles
    from autolabel.models.weights_file import AnyCard


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
    if (record := _record_of(name)) is not None:
        return snapshot_folder(record, name)
    if is_hub_id(name) and (cached := _cached(name)) is not None:
        return cached
    remedy = "nothing is downloaded here" + (f": autolabel fetch {name}" if is_hub_id(name) else "")
    raise WeightsError(name, "is neither a folder nor in the local Hugging Face cache", remedy)


def _record_of(name: str) -> Fetched | None:
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
    record = _record_of(name)
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
            raise _changed(folder)
    return FolderFiles(
        where=str(folder),
        config=_same(_small(folder / CONFIG), folder / CONFIG, digests.get(CONFIG)),
        processor=None if processor is None else _same(_small(folder / processor), folder, digests.get(processor)),
        weights=[partial(_read_weights, folder / file, digests.get(file)) for file in weights],
        tokenizer=None if tokenizer is None else _same(_small(folder / tokenizer), folder, digests.get(tokenizer)),
    )


def _read_weights(file: Path, digest: str | None) -> bytes:
    return _same(read_user_file(file, WeightsError, _REMEDY), file, digest)


def _same(data: bytes, where: object, digest: str | None) -> bytes:
    """The bytes. WeightsError unless they have the digest that the step's key names."""
    if digest is not None and sha256_bytes(data) != digest:
        raise _changed(where)
    return data


def _changed(where: object) -> WeightsError:
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


class InitialModel(NamedTuple):
    model: Network
    card: NetworkCard
    missing: tuple[str, ...] = ()  # classes that a Hugging Face model does not know
    note: str = ""  # for people: classes that begin afresh or are never predicted


def initial_identity(settings: TrainConfig, files: InputDigests) -> dict[str, Any]:
    """Initial weights count by their bytes, not by where they lie."""
    digests = {}
    if settings.weights is not None and settings.weights != TEACHER_WEIGHTS:  # a teacher's digest is an input's
        digests["weights"] = _weights_digest(settings, settings.weights, files)
    if settings.huggingface is not None:
        digests["huggingface"] = folder_identity(settings.huggingface, files)
    return digests


def _weights_digest(settings: TrainConfig, weights: Path | str, files: InputDigests) -> str:
    """ImageNet weights have a pinned digest, fetched ones a recorded one: their files are read only to be used."""
    if isinstance(weights, Path):
        with reading(weights, WeightsError, "give the path of a safetensors file"):
            return files.of_file(weights)
    if weights.startswith(HUB):
        return digest_json(_fetched_trunk(settings, weights).remarks())
    from autolabel.models.pretrained import package_for

    return package_for(settings.model.trunk, settings.place("weights")).sha256


def _fetched_trunk(settings: TrainConfig, weights: str) -> Fetched:
    return require_fetched(weights.removeprefix(HUB), "weights", settings.place("weights"))


def _read_initial(
    settings: TrainConfig, weights: Path | str, identity: Mapping[str, Any], teacher: Artefact | None
) -> bytes:
    """The bytes of the weights file that `weights` names. Raises ConfigError and WeightsError."""
    if teacher is not None:
        return read_initial_weights(teacher)
    if isinstance(weights, Path):
        return _same(read_weights(weights), weights, identity.get("weights"))
    if weights.startswith(HUB):
        record = _fetched_trunk(settings, weights)
        if identity and identity["weights"] != digest_json(record.remarks()):
            raise _changed(weights)
        return _import_fetched(record, settings.model.trunk, settings.place("weights"))
    from autolabel.models.pretrained import imagenet_weights

    return imagenet_weights(settings.model.trunk, settings.place("weights"))


def _import_fetched(record: Fetched, trunk: str, where: object) -> bytes:
    """A weights file of ours from a fetched one, whose digest is checked; its card names licence and source.

    An id that is not in the table is tried as `trunk` first: to compare it with all trunks takes long.
    """
    from autolabel.models.published import Choice, import_weights
    from autolabel.models.trunks import TRUNKS

    path = snapshot_folder(record, where) / WHOLE
    data = read_user_file(path, WeightsError, again(record))
    check_digest(record, WHOLE, sha256_bytes(data), where)
    entry = ENTRIES.get(record.id)
    if entry is not None:
        return import_weights(data, path, choice=Choice(trunk=entry.trunk), about=record.remarks()).data
    if trunk in TRUNKS:
        with suppress(WeightsError, ConfigError):
            return import_weights(data, path, choice=Choice(trunk=trunk), about=record.remarks()).data
    return import_weights(data, path, about=record.remarks()).data


def check_settings(settings: TrainConfig) -> None:
    """Settings that exclude or need one another. Raises ConfigError."""
    table = settings.toml_table
    foreign = settings.huggingface is not None
    if foreign and settings.weights is not None:
        raise ConfigError(f"{table}.huggingface", f"and {table}.weights: both are set", "leave one of them out")
    if foreign and settings.model != ModelConfig():
        raise ConfigError(f"{table}.model", "has no say over a Hugging Face model", f"leave [{table}.model] out")
    if settings.class_map and not foreign:
        raise ConfigError(f"{table}.class_map", "is for a Hugging Face model", f"name one with {table}.huggingface")
    if settings.epochs == 0 and not foreign and settings.weights is None:
        what = "0 means: take the weights as they are; but there are none"
        raise ConfigError(f"{table}.epochs", what, f"set it above 0, or give {table}.weights or {table}.huggingface")


def load_initial_model(
    settings: TrainConfig,
    class_names: tuple[str, ...],
    identity: Mapping[str, Any] | None = None,
    teacher: Artefact | None = None,
) -> InitialModel:
    """The network that the settings name, to be trained or (`epochs` = 0) as it is.

    `teacher` is the artefact that `weights = "teacher"` means; no other settings take one.

    Raises ConfigError and WeightsError, also where the files are not those of `identity` (see `initial_identity`).
    """
    check_settings(settings)
    identity = identity or {}
    if settings.huggingface is not None:
        return _from_huggingface(settings, settings.huggingface, class_names, identity)
    if settings.weights is not None:
        assert (settings.weights == TEACHER_WEIGHTS) == (teacher is not None)
        return _from_weights(settings, settings.weights, class_names, identity, teacher)
    from autolabel.models import WeightsCard, build_model

    model = build_model(settings.model, len(class_names))
    return InitialModel(model, WeightsCard(table=settings.model, class_names=class_names))


def is_from_scratch(settings: TrainConfig) -> bool:
    """Whether the network begins with random weights."""
    return settings.weights is None and settings.huggingface is None


def _from_huggingface(
    settings: TrainConfig, name: str, class_names: tuple[str, ...], identity: Mapping[str, Any]
) -> InitialModel:
    from autolabel.models.huggingface import model_as_it_is, model_to_train

    begin = model_to_train if settings.epochs else model_as_it_is
    model, card, missing = begin(read_files(name, identity.get("huggingface")), class_names, settings.class_map)
    if (record := _record_of(name)) is not None:
        card = card.model_copy(update={"extra": card.extra | record.remarks()})
    what = "their layers begin afresh" if settings.epochs else "they are never predicted"
    note = f"{name} knows no class for {', '.join(missing)}: {what}" if missing else ""
    return InitialModel(model, card, missing, note)


def _from_weights(
    settings: TrainConfig,
    path: Path | str,
    class_names: tuple[str, ...],
    identity: Mapping[str, Any],
    teacher: Artefact | None,
) -> InitialModel:
    from autolabel.models import HuggingFaceCard, start_from
    from autolabel.models.checkpoint import has_other_classes
    from autolabel.models.weights_file import check_trained, read_card

    data = _read_initial(settings, path, identity, teacher)
    card = read_card(data, path)
    foreign = isinstance(card, HuggingFaceCard)
    if foreign or settings.epochs == 0:
        _check_classes(card, class_names, path)
        check_trained(card, path)
    if foreign:
        return _from_foreign_weights(settings, data, path)
    model, new_card = start_from(data, path, settings.model, class_names)
    other = has_other_classes(data, path, class_names)
    note = f"{path} knows other classes: the layers that end in class logits begin afresh" if other else ""
    return InitialModel(model, new_card, note=note)


def _check_classes(card: AnyCard, class_names: tuple[str, ...], path: Path | str) -> None:
    """Weights that are taken as they are must have just the experiment's classes."""
    names = getattr(card, "class_names", ())
    if names != class_names:
        what = f"is for the classes {', '.join(names)}" if names else "holds only a trunk, which labels nothing"
        raise WeightsError(path, what[:200], "train it (epochs above 0), or take weights made for these classes")


def _from_foreign_weights(settings: TrainConfig, data: bytes, path: Path | str) -> InitialModel:
    """Weights that came from a Hugging Face model stay one."""
    from autolabel.models.huggingface import check_trainable, huggingface_from_bytes

    if settings.model != ModelConfig():
        raise WeightsError(path, "holds a Hugging Face model", "leave the model table out")
    model, card = huggingface_from_bytes(data, path)
    if settings.epochs:
        check_trainable(model, path)
    return InitialModel(model, card)
