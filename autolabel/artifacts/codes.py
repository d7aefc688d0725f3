"""Artefact `codes`: shards of codes and the index that says what each shard holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypedDict

from pydantic import BaseModel, Field, ValidationError

from autolabel.artifacts.json_file import JsonFile
from autolabel.errors import DataError
from autolabel.store import Artefact, Draft

if TYPE_CHECKING:
    from autolabel.labels.codebook import Codebook


class CodesMeta(TypedDict):
    to_label: int  # number of images of split train
    val: int
    edges: list[float]  # bin edges of the codebook


class ShardEntry(NamedTuple):
    """One shard: its file, the split of its images, their ids in order and the sha256 of their files."""

    name: str
    split: str
    ids: tuple[str, ...]
    inputs: tuple[str, ...] = ()  # empty: not known


class ShardIndex(NamedTuple):
    book: Codebook
    shards: tuple[ShardEntry, ...]

    def of_split(self, split: str) -> list[ShardEntry]:
        return [shard for shard in self.shards if shard.split == split]


class _Entry(BaseModel, extra="forbid", strict=True):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    split: str
    ids: list[str]
    inputs: list[str] = []


class _Document(BaseModel, extra="forbid", strict=True):
    book: dict[str, Any]
    shards: list[_Entry]


SHARD_INDEX_FILE: JsonFile[dict[str, Any]] = JsonFile("shards.json", sort_keys=True)


def read_shard_index(artefact: Artefact) -> ShardIndex:
    """Raises DataError where the codebook is of another version."""
    return parse_shard_index(artefact.read(SHARD_INDEX_FILE.name), artefact.path)


def parse_shard_index(data: bytes, where: object) -> ShardIndex:
    """The index in the bytes of a `shards.json`, which may be anyone's: no name leads out of its folder.

    Raises DataError.
    """
    from autolabel.labels.codebook import Codebook

    try:
        document = _Document.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        what = f"is no index of shards: {place}: {first['msg']}" if place else "is no index of shards"
        raise DataError(where, what, "infer again") from error
    shards = (ShardEntry(row.name, row.split, tuple(row.ids), tuple(row.inputs)) for row in document.shards)
    return ShardIndex(Codebook.from_dict(document.book, where), tuple(shards))


def write_shard_index(draft: Draft, book: Codebook, shards: Sequence[ShardEntry]) -> None:
    SHARD_INDEX_FILE.write(draft, {"book": book.to_dict(), "shards": [shard._asdict() for shard in shards]})
