"""One JSON file of an artefact: its name, its layout and the type of its document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from autolabel.store import Artefact, Draft

T = TypeVar("T")


@dataclass(frozen=True)
class JsonFile(Generic[T]):
    """A file `name` that holds a document of type `T`.

    Layout and key order are part of the artefact's digest. Reading checks the digest, so only a stage of ours can
    have written the document; its shape is not checked again.
    """

    name: str
    indent: int | None = None
    sort_keys: bool = False

    def read(self, artefact: Artefact) -> T:
        """The document. Raises CorruptArtefact."""
        document: T = json.loads(artefact.read(self.name))
        return document

    def read_items(self, artefact: Artefact) -> Iterator[Any]:
        """The items that `write_items` wrote, one by one. Raises CorruptArtefact."""
        text, at = artefact.read(self.name).decode(), len("[\n")
        while at < len(text):
            item, end = json.JSONDecoder().raw_decode(text, at)
            yield item
            at = end + len(",\n")

    def write_items(self, draft: Draft, items: Iterable[object]) -> None:
        """The bytes of `write` for a list, with one item at a time as text. The layout must not indent."""
        assert self.indent == 0
        encode = json.JSONEncoder(indent=0, sort_keys=self.sort_keys).encode
        text = bytearray()
        for item in items:
            text += (b",\n" if text else b"[\n") + encode(item).encode()
        draft.write(self.name, text + b"\n]" if text else b"[]")

    def write(self, draft: Draft, document: T) -> None:
        draft.write(self.name, json.dumps(document, indent=self.indent, sort_keys=self.sort_keys).encode())
