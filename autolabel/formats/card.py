"""The data card of an export: README.md, and croissant.json for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolabel.formats.base import FileItem
from autolabel.formats.exporting import ExportFile, ExportSummary
from autolabel.markdown import markdown_environment

_HERE = Path(__file__).parent
_MIME = {
    ".json": "application/json",
    ".xml": "application/xml",
    ".txt": "text/plain",
    ".csv": "text/csv",
    ".yaml": "application/yaml",
    ".parquet": "application/x-parquet",
}


@dataclass(frozen=True)
class Licence:
    """The user states them; empty = not stated."""

    name: str = ""
    licence: str = ""
    creator: str = ""
    url: str = ""


def card_files(
    format: str,
    split: str,
    licence: Licence,
    facts: Mapping[str, Any],
    classes: Sequence[Mapping[str, Any]],
    summary: ExportSummary,
    remarks: Sequence[str],
) -> list[FileItem]:
    """README.md and croissant.json."""
    card = {
        **facts,
        "format": format,
        "split": split,
        "licence": licence,
        "classes": classes,
        "images": summary.images,
        "pixels": summary.pixels,
        "ignored": summary.ignored,
        "remarks": list(remarks),
    }
    environment = markdown_environment(_HERE)
    environment.filters["yaml"] = json.dumps  # a JSON string is a YAML string
    environment.filters["percent"] = _percent
    text = environment.get_template("data_card.md.j2").render(card)
    return [("README.md", text.encode()), ("croissant.json", croissant(licence, text, summary.files))]


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{100 * value:.1f} %"


def croissant(licence: Licence, text: str, files: Sequence[ExportFile]) -> bytes:
    """Croissant 1.0 (mlcommons.org/croissant): description, licence and the table of all files with their digests."""
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": licence.name or "autolabel export",
        "description": text.split("\n## ")[0].split("---\n")[-1].strip(),
        "license": licence.licence or "not stated",
        **({"url": licence.url} if licence.url else {}),
        **({"creator": {"@type": "sc:Organization", "name": licence.creator}} if licence.creator else {}),
        "distribution": [_file_object(number, file) for number, file in enumerate(files, 1)],
    }
    return json.dumps(document, indent=1).encode()


def _file_object(number: int, file: ExportFile) -> dict[str, Any]:
    suffix = Path(file.name).suffix.lower()
    return {
        "@type": "cr:FileObject",
        "@id": f"file-{number}",  # mlcroissant refuses blanks in an id
        "name": file.name,
        "contentUrl": file.name,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": _MIME.get(suffix, f"image/{suffix[1:].replace('jpg', 'jpeg')}"),
        "sha256": file.sha256,
    }


# The context that the specification prescribes, word for word.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
