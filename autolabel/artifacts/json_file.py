"""One JSON file of an artefact: its name, its layout and the type of its document."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Generic, TypeVar

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

    def write(self, draft: Draft, document: T) -> None:
        draft.write(self.name, json.dumps(document, indent=self.indent, sort_keys=self.sort_keys).encode())
