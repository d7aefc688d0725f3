"""Files that ship with the program: `configs/`, `pipelines/` and `data_manifest/`.

They are at the top of the repository, and inside the package once it is installed.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(where: str, name: str) -> bytes:
    """The bytes of the file `name` in the resource folder `where`. Raises FileNotFoundError."""
    return (folder(where) / name).read_bytes()


def names(where: str) -> list[str]:
    """Sorted file names in a resource folder. Raises FileNotFoundError."""
    return sorted(file.name for file in folder(where).iterdir() if file.is_file() and file.name[0] not in "._")


def folder(name: str) -> Path:
    """The path of a resource folder. Raises FileNotFoundError."""
    for parent in (_PACKAGE, _PACKAGE.parent):
        if (parent / name).is_dir():
            return parent / name
    raise FileNotFoundError(f"autolabel was installed without its folder {name!r}")
