"""`autolabel cut`: label PNGs from codes, without an experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autolabel.errors import ConfigError, DataError
from autolabel.given import read_given
from autolabel.labels.codecs import require_codec
from autolabel.labels.codes import thresholds_per_class
from autolabel.labels.cutting import CutLabel, cut_shard
from autolabel.labels.shards import Shard, read_shard
from autolabel.machine import usable_cores
from autolabel.progress import Progress
from autolabel.store import TEMPORARY, Artefact, remove_file, remove_temporaries, safe_names, write_file, write_files
from autolabel.threads import OrderedMap

INDEX = "labels.json"  # what was cut: settings, and a row an image; written last
BEGUN = "unfinished.json"  # the image ids, in a folder that has no index yet: the same command may go on there


def cut_codes(
    codes: Path,
    out: Path,
    *,
    threshold: float,
    class_thresholds: Mapping[str, float],
    codec: str,
    jobs: int,
    quiet: bool,
) -> dict[str, Any]:
    """Cut every shard of `codes` into `out`; returns what `--json` prints."""
    require_codec(codec)
    shards = load_shards(codes)
    first = read_shard(shards[0][1], where=shards[0][0])
    lut = first.book.lut(thresholds_per_class(_class_names(first, shards[0][0]), threshold, class_thresholds))
    ids = [image_id for name, data in shards for image_id in _checked(read_shard(data, where=name), first, name).ids]
    if len(set(ids)) < len(ids):
        raise DataError(codes, "holds an image twice", "give the shards of one run")
    names = safe_names(ids, suffix=".png")
    _begin(out.absolute(), names)
    rows: list[dict[str, Any]] = []
    jobs = jobs or usable_cores()
    with (
        Progress(total=len(ids), desc="cut", unit="image", quiet=quiet) as bar,
        OrderedMap(
            lambda shard: cut_shard(shard[1], lut, {}, codec=codec), shards, workers=jobs, ahead=jobs
        ) as results,
    ):
        for cuts in results:
            write_files(out.absolute(), ((names[item.id], item.png) for item in cuts))
            rows += [_row(item, names[item.id]) for item in cuts]
            bar.update(len(cuts))
    settings = {"threshold": threshold, "class_thresholds": dict(class_thresholds), "codec": codec}
    index = {**settings, "classes": list(first.class_names), "ignore": 255, "labels": rows}
    write_file(out.absolute() / INDEX, json.dumps(index, indent=1, sort_keys=True).encode())
    remove_file(out.absolute() / BEGUN)
    pixels, ignored = sum(row["pixels"] for row in rows), sum(row["ignored"] for row in rows)
    total = sum(row["bytes"] for row in rows)
    return {"count": len(rows), "bytes": total, "ignored_share": ignored / max(pixels, 1), "out": str(out), **settings}


def _begin(out: Path, names: Mapping[str, str]) -> None:
    """Take an empty folder, or one in which a cut of the same images was cut short. ConfigError for any other."""
    begun = json.dumps(sorted(names)).encode()
    if out.exists() and not (out.is_dir() and (_is_empty(out) or _holds(out / BEGUN, begun))):
        raise ConfigError(out, "exists and is not an empty folder", "give a new folder with --out")
    if out.exists():
        remove_temporaries(out)
    write_file(out / BEGUN, begun)


def _is_empty(folder: Path) -> bool:
    """But for what a writer that was killed has left."""
    return all(entry.name.startswith(TEMPORARY) for entry in folder.iterdir())


def _holds(file: Path, data: bytes) -> bool:
    return file.is_file() and file.stat().st_size == len(data) and file.read_bytes() == data


def load_shards(codes: Path) -> list[tuple[str, bytes]]:
    """(name, bytes) of the shards of images to label: those of an infer artefact, checked, or a single file."""
    if (codes / "COMMIT").is_file():
        artefact = Artefact.open(codes)
        found = [(str(codes / name), artefact.read(name)) for name in artefact.names("codes-")]
    elif codes.is_dir():
        found = [(str(file), _read(file)) for file in sorted(codes.glob("codes-*.h5"))]
    else:
        found = [(str(codes), _read(codes))]
    if not found:
        raise DataError(codes, "holds no codes", "give an infer artefact, its data folder, or a codes-*.h5 file")
    return found


def _read(file: Path) -> bytes:
    try:
        return read_given(file)
    except OSError as error:
        remedy = "give an infer artefact or a codes-*.h5 file"
        raise DataError(file, f"cannot be read: {error.strerror}", remedy) from error


def _class_names(shard: Shard, where: str) -> tuple[str, ...]:
    if not shard.class_names:
        raise DataError(where, "names no classes", "infer again")
    return shard.class_names


def _checked(shard: Shard, first: Shard, where: str) -> Shard:
    """Before anything is written: of the same run, and every image a map of codes."""
    shard.check()
    if shard.book != first.book or shard.class_names != first.class_names:
        raise DataError(where, "was made with other classes or bins than the first shard", "give shards of one run")
    return shard


def _row(item: CutLabel, name: str) -> dict[str, Any]:
    pixels = int(np.sum(item.counts))
    return {"id": item.id, "file": name, "bytes": len(item.png), "pixels": pixels, "ignored": int(item.counts[-1])}
