"""Files that ship with the program: `configs/`, `pipelines/` and `data_manifest/`.

They lie at the top of the repository for its readers, and inside the package once it is installed.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(where: str, name: str) -> bytes:
    """The bytes of file `name` of a resource folder. Raises FileNotFoundError."""
    return (folder(where) / name).read_bytes()


def names(where: str) -> list[str]:
    """Sorted file names in a resource folder. Raises FileNotFoundError where there is no such folder."""
    return sorted(file.name for file in folder(where).iterdir() if file.is_file() and file.name[0] not in "._")


def folder(name: str) -> Path:
    """Where a resource folder lies. Raises FileNotFoundError where there is none."""
    for parent in (_PACKAGE, _PACKAGE.parent):
        if (parent / name).is_dir():
            return parent / name
    raise FileNotFoundError(f"autolabel was installed without its folder {name!r}")
