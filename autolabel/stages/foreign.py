"""A teacher of another framework: its predictions are read from an ONNX model or from a folder of arrays."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from autolabel.artifacts import TRAINED_ON_FILE, TrainedOn, UntrainedMeta
from autolabel.artifacts.json_file import JsonFile
from autolabel.config.networks import ForeignConfig, ModelConfig, TeacherConfig
from autolabel.errors import ConfigError, DataError, ImageError, UnreadableImage, WeightsError
from autolabel.flow.stage import Context, PreflightContext, StageResult
from autolabel.store import Artefact, InputDigests, sha256_bytes
from autolabel.user_files import read_user_file, reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autolabel.data.schema import ImageRow
    from autolabel.data.sources.base import SourceImage
    from autolabel.inference.engine import ChunkCodes, Stats
    from autolabel.inference.foreign import ChannelMap, ForeignTeacher
    from autolabel.inference.onnx_teacher import Preprocessing
    from autolabel.labels.codebook import Codebook

MODEL = "model.onnx"  # the copy in the teacher's artefact
ENDINGS = (".npz", ".npy")
_LARGEST_MODEL = 8 * 2**30
_WHERE = "teacher.foreign"
_REMEDY = "give the path of an ONNX file"


class ForeignDocument(TypedDict):
    """How predictions are read; the artefact of a foreign teacher holds it in place of weights."""

    kind: str
    values: str
    layout: str | None
    train_ids: list[int]  # of each channel; the number of classes stands for none
    num_classes: int
    settings: dict[str, Any]  # pre-processing
    files: dict[str, str]  # of a folder of arrays: name -> sha256


FOREIGN_FILE: JsonFile[ForeignDocument] = JsonFile("foreign.json", sort_keys=True)


def is_foreign(model: Artefact) -> bool:
    return FOREIGN_FILE.name in model.names()


def foreign_identity(foreign: ForeignConfig, files: InputDigests) -> dict[str, Any]:
    """The settings, with the bytes of the model or the arrays in place of the path."""
    document = foreign.model_dump(mode="json", exclude={"path"})
    if foreign.kind == "onnx":
        with reading(foreign.path, WeightsError, _REMEDY):
            return {**document, "content": files.of_file(foreign.path)}
    return {**document, "content": array_digests(foreign, files)}


def array_digests(foreign: ForeignConfig, files: InputDigests) -> dict[str, str]:
    """sha256 of each array of the folder, by its path below it. Raises WeightsError."""
    if not foreign.path.is_dir():
        raise WeightsError(foreign.path, "is no folder of arrays", f"correct {_WHERE}.path")
    paths = sorted(file for file in foreign.path.rglob("*") if file.suffix in ENDINGS and file.is_file())
    names = [file.relative_to(foreign.path).as_posix() for file in paths]
    return {name: digest or "" for name, digest in files.of_files(foreign.path, names).items()}


def check_foreign(ahead: PreflightContext[TeacherConfig]) -> None:
    """All that can be known before the run: settings that exclude each other, the classes, and the files."""
    settings, names = ahead.settings, ahead.data.classes.names
    foreign = settings.foreign
    assert foreign is not None
    if settings.epochs:
        raise ConfigError("teacher.epochs", "a foreign teacher is not trained here", "set it to 0")
    if settings.weights is not None or settings.huggingface is not None or settings.model != ModelConfig():
        raise ConfigError(_WHERE, "takes the place of weights, huggingface and model", "leave the others out")
    if foreign.kind == "onnx":
        _, _, card = _read_model(foreign, None)
        channel_map(settings, names, listed_classes(card))
        return
    channel_map(settings, names)
    stated_values(foreign, {})
    found = {name.rpartition(".")[0] for name in array_digests(foreign, InputDigests(read=False))}
    wanted = [image.id for image in ahead.data.images if is_to_infer(image)]
    missing = [id_ for id_ in wanted if id_ not in found]
    if missing:
        what = f"has no array for {len(missing)} of {len(wanted)} images, the first {missing[0]!r}"
        raise DataError(foreign.path, what, f"write {missing[0]}.npz, named as the image, for each of them")


def is_to_infer(image: SourceImage) -> bool:
    """Whether the teacher labels it: val images, and train images without a fine label."""
    return image.split == "val" or (image.split == "train" and all(label.role != "fine" for label in image.labels))


def listed_classes(card: Mapping[str, Any]) -> list[str]:
    """The classes of the channels, as the card names them; empty if it does not."""
    names = card.get("class_names")
    return [str(name) for name in names] if isinstance(names, list) else []


def channel_map(settings: TeacherConfig, names: Sequence[str], theirs: Sequence[str] = ()) -> ChannelMap:
    """The train id of each channel. Raises ConfigError for names that are not known."""
    from autolabel.inference.foreign import ChannelMap
    from autolabel.models.huggingface.class_mapping import NONE, check_covered, match_classes

    assert settings.foreign is not None
    channels = settings.foreign.classes or tuple(theirs) or tuple(names)
    ids = match_classes(channels, names, settings.class_map, where=_WHERE)
    check_covered(ids, channels, names, where=_WHERE)
    return ChannelMap(tuple(len(names) if train_id == NONE else train_id for train_id in ids), len(names))


def stated_values(foreign: ForeignConfig, card: Mapping[str, Any]) -> str:
    """The meaning of the numbers. ConfigError where nothing says it: it is never guessed."""
    values = foreign.values or ("logits" if card else None)
    if values is None:
        raise ConfigError(f"{_WHERE}.values", "is missing", 'say "probabilities" or "logits"')
    if values == "concepts" and foreign.kind == "onnx":
        raise ConfigError(f"{_WHERE}.values", "concepts are masks in a folder of arrays", 'set kind = "arrays"')
    return values


def _read_model(foreign: ForeignConfig, digest: str | None) -> tuple[bytes, Any, Mapping[str, Any]]:
    """Bytes, session and card of an ONNX file. Raises WeightsError, also where it is not the file of the key."""
    from autolabel.inference.onnx_teacher import metadata, open_session

    data = read_user_file(foreign.path, WeightsError, _REMEDY, at_most=_LARGEST_MODEL)
    if digest is not None and sha256_bytes(data) != digest:
        raise WeightsError(foreign.path, "changed since the run began", "run the same command again")
    session = open_session(data, foreign.path)
    card = metadata(session)
    stated_values(foreign, card)
    preprocessing(foreign, card)
    return data, session, card


def preprocessing(foreign: ForeignConfig, card: Mapping[str, Any]) -> Preprocessing:
    """As the settings state it, else as the card of the file does. ConfigError where neither does."""
    from autolabel.inference.onnx_teacher import Preprocessing

    mean, std = foreign.mean or _three(card.get("mean")), foreign.std or _three(card.get("std"))
    if mean is None or std is None:
        remedy = f"set {_WHERE}.mean and {_WHERE}.std, e.g. [0.485, 0.456, 0.406] and [0.229, 0.224, 0.225]"
        raise ConfigError(foreign.path, "does not say how its images are normalised", remedy)
    return Preprocessing(mean, std, foreign.pixel_range, foreign.channel_order, foreign.size)


def _three(values: Any) -> tuple[float, float, float] | None:
    numbers = isinstance(values, list) and len(values) == 3 and all(isinstance(x, int | float) for x in values)
    return (float(values[0]), float(values[1]), float(values[2])) if numbers else None


def run_foreign(ctx: Context[TeacherConfig], names: Sequence[str]) -> StageResult:
    """Write how the predictions are read, and the model itself where there is one."""
    foreign = ctx.settings.foreign
    assert foreign is not None
    if not ctx.world.is_rank0:
        return StageResult(meta={})
    content = ctx.identity.get("foreign", {}).get("content")
    files: dict[str, str] = {}
    card: Mapping[str, Any] = {}
    if foreign.kind == "onnx":
        data, _, card = _read_model(foreign, content)
        ctx.draft.write(MODEL, data)
    else:
        files = content or {}
    channels = channel_map(ctx.settings, names, listed_classes(card))
    settings = foreign.model_dump(mode="json", exclude={"path", "classes"})
    if foreign.kind == "onnx":
        prepare = preprocessing(foreign, card)
        settings |= {"mean": prepare.mean, "std": prepare.std}
    document = ForeignDocument(
        kind=foreign.kind,
        values=stated_values(foreign, card),
        layout=foreign.layout,
        train_ids=list(channels.train_ids),
        num_classes=channels.num_classes,
        settings=settings,
        files=files,
    )
    FOREIGN_FILE.write(ctx.draft, document)
    TRAINED_ON_FILE.write(ctx.draft, TrainedOn(images=[], complete=False))
    never = [name for k, name in enumerate(names) if k not in channels.train_ids]
    meta = UntrainedMeta(steps=0, images=0, trained_on="unknown data", miou=None, never_predicted=never)
    return StageResult(meta=meta)


def open_foreign(model: Artefact, foreign: ForeignConfig | None) -> ForeignTeacher:
    """The teacher in an artefact. Raises ConfigError where the experiment no longer names its folder of arrays."""
    from autolabel.inference.foreign import ArrayFormat, ChannelMap
    from autolabel.inference.onnx_teacher import OnnxTeacher, open_session

    document = FOREIGN_FILE.read(model)
    channels = ChannelMap(tuple(document["train_ids"]), document["num_classes"])
    values, layout = cast(Any, document["values"]), cast(Any, document["layout"])
    if document["kind"] == "onnx":
        session = open_session(model.read(MODEL), model.file(MODEL))
        stated = ForeignConfig.model_validate({**_tuples(document["settings"]), "path": Path(MODEL)})
        return OnnxTeacher(session, preprocessing(stated, {}), values, layout, channels, MODEL)
    if foreign is None:
        raise ConfigError(_WHERE, "the experiment does not name the folder of arrays", "set it again")
    return _ArrayTeacher(foreign.path, document["files"], ArrayFormat(values, layout, channels))


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where the settings have tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


class _ArrayTeacher:
    """Predictions by the id of an image, from the files that the teacher's key names."""

    def __init__(self, folder: Path, files: Mapping[str, str], layout: Any) -> None:
        self._folder, self._files, self._format = folder, files, layout

    def codes(self, image_id: str, image: NDArray[np.uint8], book: Codebook) -> NDArray[Any]:
        from autolabel.inference.foreign import codes_of

        name = next((f"{image_id}{ending}" for ending in ENDINGS if f"{image_id}{ending}" in self._files), None)
        if name is None:
            raise ImageError(image_id, f"{self._folder} has no array of it", f"write {image_id}.npz there")
        data = read_user_file(self._folder / name, DataError, "write it again")
        if sha256_bytes(data) != self._files[name]:
            raise UnreadableImage(name, "changed since the run began", "run the same command again")
        probabilities = self._format.probabilities(data, (image.shape[0], image.shape[1]), name)
        return codes_of(probabilities, book)


def foreign_chunks(
    teacher: ForeignTeacher,
    book: Codebook,
    chunks: Iterator[tuple[int, Sequence[ImageRow]]],
    *,
    load: Callable[[ImageRow], NDArray[np.uint8]],
    on_stats: Callable[[Stats], None],
    jobs: int,
) -> Generator[ChunkCodes, None, None]:
    """As `engine.infer_chunks`: the codes of every chunk, in order; `jobs` threads label one image each."""
    import torch

    from autolabel.inference.engine import ChunkCodes, Stats
    from autolabel.parallel import OrderedMap

    def label(row: ImageRow) -> NDArray[Any] | ImageError:
        torch.set_num_threads(1)
        try:
            return teacher.codes(row.id, load(row), book)
        except ImageError as error:
            return error

    for index, rows in chunks:
        codes: list[tuple[str, NDArray[Any]]] = []
        bad: list[tuple[str, ImageError]] = []
        with OrderedMap(label, rows, workers=jobs, ahead=jobs) as results:
            for row, result in zip(rows, results, strict=True):
                if isinstance(result, ImageError):
                    bad.append((row.id, result))
                else:
                    codes.append((row.id, result))
                on_stats(Stats(images=1, ready=0, ahead=jobs, running=1, decoding=0.0, network=0.0))
        yield ChunkCodes(index, codes, sorted(bad, key=lambda pair: pair[0]))
