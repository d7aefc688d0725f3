"""Which split an image belongs to, by the folders it lies in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence

from autolabel.errors import DataError

_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def split_of_folder(name: str) -> str | None:
    """The split that a folder's name states, in any case and with digits or words after it: "Valid", "test_2017"."""
    word = re.match(r"[a-z]*", name.lower())
    return _WORDS.get(word[0]) if word else None


def folder_splits(paths: Sequence[str], stated: Mapping[str, str], where: object) -> dict[str, str | None]:
    """Path of an image -> split, None where neither a folder's name nor `stated` (folder -> split) tells.

    The outermost folder that tells counts. Raises DataError where train and val folders exist and images lie beside
    them: a guess might train on them, or leave them out.
    """
    splits = {path: _split(path.split("/")[:-1], stated) for path in paths}
    unknown = sorted({path.rpartition("/")[0] or "." for path, split in splits.items() if split is None})
    if unknown and {"train", "val"} <= set(splits.values()):
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        what = f"images lie beside the folders of the splits: in {unknown[0]!r}{more}"
        remedy = f'say which split they are: data.splits = {{ "{unknown[0]}" = "train" }}'
        raise DataError(where, what, remedy)
    return splits


def _split(folders: Sequence[str], stated: Mapping[str, str]) -> str | None:
    for count in range(1, len(folders) + 1):
        here = "/".join(folders[:count])
        split = stated.get(here) or split_of_folder(folders[count - 1])
        if split is not None:
            return split
    return stated.get(".")


def held_out(names: Collection[str], fraction: float) -> set[str]:
    """The names whose digests come first: this order is the same everywhere and unrelated to the images.

    A positive fraction holds out at least one name, and at least one is left for training.
    """
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
    count = max(1, round(fraction * len(names))) if fraction > 0 else 0
    return set(ordered[: min(count, len(names) - 1)]) if names else set()
