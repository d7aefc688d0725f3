"""`autolabel cut`: label PNGs from codes, without an experiment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from autolabel.artifacts import AUDIT_FILE, SHARD_INDEX_FILE, parse_shard_index, read_shard_index
from autolabel.classes import IGNORE
from autolabel.cli.label_ids import label_id_options, statement_of
from autolabel.cli.options import echo, jobs_option, json_option, print_json, quiet_option, size
from autolabel.config.schema import LabelConfig
from autolabel.errors import DataError
from autolabel.labels.codebook import Codebook, thresholds_per_class
from autolabel.labels.label_set import CLASSES, FOLDER, LabelIds, LabelSummary, describe
from autolabel.labels.png import require_codec
from autolabel.labels.threshold import LabelledImage, threshold_shard
from autolabel.labels.threshold_rules import calibrated_bins, histogram_of, per_class, quantile_thresholds
from autolabel.parallel import ordered_results, require_backend
from autolabel.progress import Progress
from autolabel.store import Artefact, mirror_names, open_output, sha256_bytes
from autolabel.user_files import read_user_file

_REMEDY = "give an infer artefact, its data folder, or a shard of codes (.h5)"
INDEX = "labels.json"  # settings and a row with digest per image; written last


class ShardSource(NamedTuple):
    """A shard of codes, read on demand: only a few are in memory at once."""

    where: str
    read: Callable[[], bytes]
    is_chosen: bool = True  # False: the shard itself says whether its images are to be labelled


class _Checked(NamedTuple):
    """A shard whose images all decode."""

    split: str
    sha256: str
    book: Codebook
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    histogram: NDArray[np.int64]  # (K, B) pixels by predicted class and bin


def cut_shards(
    codes: Path,
    out: Path,
    *,
    threshold: float | Literal["quantile"],
    class_thresholds: Mapping[str, float],
    codec: str,
    label_ids: LabelIds,
    class_file: Path | None,
    backend: str,
    jobs: int,
    quiet: bool,
    calibration: Path | None = None,
) -> dict[str, Any]:
    """Write the labels of every shard of `codes` to `out`; return what `--json` prints.

    A bad shard ends the command before it writes anything.
    """
    require_codec(codec)
    require_backend(backend)
    sources = shard_sources(codes)
    with ordered_results(_look, sources, backend="threads", jobs=jobs) as looks:
        chosen = [(source, look) for source, look in zip(sources, looks, strict=True) if _is_to_label(source, look)]
    if not chosen:
        raise DataError(codes, "holds no codes of images to label", _REMEDY)
    sources, seen = [source for source, _ in chosen], [look for _, look in chosen]
    first, ids = seen[0], [image_id for look in seen for image_id in look.ids]
    class_names = _class_names(first, sources[0].where)
    lut = _table(seen, class_names, threshold, class_thresholds, calibration)
    statement = statement_of(class_names, label_ids, class_file)
    for look, source in zip(seen, sources, strict=True):
        _check_same_book(look, first, source.where)
    if len(set(ids)) < len(ids):
        raise DataError(codes, "holds an image twice", "give the shards of one run")
    names = mirror_names({image_id: image_id for image_id in ids}, ".png")
    settings = {"threshold": threshold, "class_thresholds": dict(class_thresholds), "codec": codec, "ids": label_ids}
    if calibration is not None:
        settings["calibration"] = sha256_bytes(read_calibration(calibration))
    shards = [look.sha256 for look in seen]
    work = {"command": "cut", **settings, "shards": shards, "files": names, "statement": statement.to_json().decode()}
    rows: list[dict[str, Any]] = []
    summaries: list[LabelSummary] = []
    values = None if label_ids == "train" else statement.values()
    cut = partial(threshold_shard, lut=lut, coarse_by_id={}, codec=codec, values=values)
    again = (_read_again(source, look) for source, look in zip(sources, seen, strict=True))
    with (
        open_output(out, work=work, index=INDEX, new=True) as output,
        Progress(total=len(ids), desc="cut", unit="image", quiet=quiet) as bar,
        ordered_results(cut, again, backend=backend, jobs=jobs) as results,
    ):
        # First of all: at no time does a label lie there without the statement of its ids.
        output.write([(f"{FOLDER}/{CLASSES}", statement.to_json())])
        for cuts in results:
            digests = output.write((f"{FOLDER}/{names[item.id]}", item.png) for item in cuts)
            rows += [_row(item, f"{FOLDER}/{names[item.id]}", digests) for item in cuts]
            summaries += [LabelSummary(x.id, names[x.id], x.counts, x.mean_confidence) for x in cuts]
            bar.update(len(cuts))
        output.write(describe(statement, summaries).items())
        others = [row for row in output.rows() if row["file"] not in {label["file"] for label in rows}]
        ignore = int(statement.values()[IGNORE])
        index = {**settings, "classes": list(class_names), "ignore": ignore, "labels": rows, "files": others}
        output.finish(index)
    pixels, ignored = sum(row["pixels"] for row in rows), sum(row["ignored"] for row in rows)
    total = sum(row["bytes"] for row in rows)
    return {"count": len(rows), "bytes": total, "ignored_share": ignored / max(pixels, 1), "out": str(out), **settings}


def _table(
    seen: Sequence[_Checked],
    names: tuple[str, ...],
    threshold: float | Literal["quantile"],
    class_thresholds: Mapping[str, float],
    calibration: Path | None,
) -> NDArray[np.uint8]:
    """Code -> train id, by a number, by the rule "quantile", or on calibrated probabilities."""
    book = seen[0].book
    if isinstance(threshold, str):
        defaults = LabelConfig()
        thresholds_per_class(names, 0.5, class_thresholds)
        histogram = np.sum([look.histogram for look in seen], axis=0)
        chosen = quantile_thresholds(histogram, book.edges, defaults.quantile, defaults.quantile_range)
        return book.lut(per_class(names, chosen, class_thresholds))
    thresholds = thresholds_per_class(names, threshold, class_thresholds)
    if calibration is None:
        return book.lut(thresholds)
    probabilities = _probabilities(calibration, names, book)
    return book.lut_from_bins(calibrated_bins(probabilities, thresholds))


def read_calibration(path: Path) -> bytes:
    """The bytes of an audit, from its artefact or as a file. Raises DataError."""
    if (path / "COMMIT").is_file():
        return Artefact.open(path).read(AUDIT_FILE.name)
    return read_user_file(path, DataError, "give an audit artefact of a run, or its audit.json")


def _probabilities(path: Path, names: tuple[str, ...], book: Codebook) -> NDArray[np.float64]:
    """(K, B) calibrated probabilities of an audit. Raises DataError unless they fit the codes."""
    try:
        classes = json.loads(read_calibration(path))["calibration"]["classes"]
        table = np.array([classes[name] for name in names], np.float64)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = "holds no calibration of these classes"
        raise DataError(path, what, "give the audit of the run that made the codes") from error
    if table.shape != (book.num_classes, book.bins) or len(classes) != len(names):
        raise DataError(path, "is of other classes or bins", "give the audit of the run that made the codes")
    if not ((table >= 0) & (table <= 1)).all():  # false for NaN, too
        raise DataError(path, "holds calibrated probabilities outside 0 to 1", "give the audit as the run wrote it")
    return table


def _look(source: ShardSource) -> _Checked:
    from autolabel.labels.shards import read_shard

    data = source.read()
    shard = read_shard(data, where=source.where)
    histogram = np.zeros((shard.book.num_classes, shard.book.bins), np.int64)
    for image_id in shard.ids:  # every image must decode
        histogram += histogram_of(shard.book, shard.codes(image_id))
    return _Checked(shard.split, sha256_bytes(data), shard.book, shard.class_names, shard.ids, histogram)


def _is_to_label(source: ShardSource, shard: _Checked) -> bool:
    if not source.is_chosen and not shard.split:
        remedy = "give the infer artefact with its shards.json, or this one file"
        raise DataError(source.where, "does not say whether its images are to be labelled", remedy)
    return source.is_chosen or shard.split == "train"


def _read_again(source: ShardSource, seen: _Checked) -> bytes:
    data = source.read()
    if sha256_bytes(data) != seen.sha256:
        raise DataError(source.where, "changed while it was being cut", "run the same command again")
    return data


def shard_sources(codes: Path) -> list[ShardSource]:
    """The shards of images to label: those of an infer artefact, checked on reading, those of a folder, or one file.

    The index tells which shards hold images to label. In a folder without an index each shard says so itself.
    """
    if (codes / "COMMIT").is_file():
        artefact = Artefact.open(codes)
        index = read_shard_index(artefact) if SHARD_INDEX_FILE.name in artefact.names() else None
        names = [] if index is None else [shard.name for shard in index.of_split("train")]
        sources = [ShardSource(str(codes / name), partial(artefact.read, name)) for name in names]
    elif (codes / SHARD_INDEX_FILE.name).exists():
        index = parse_shard_index(_read(codes / SHARD_INDEX_FILE.name), codes / SHARD_INDEX_FILE.name)
        files = [codes / shard.name for shard in index.of_split("train")]
        sources = [ShardSource(str(file), partial(_read, file)) for file in files]
    elif codes.is_dir():
        sources = [ShardSource(str(file), partial(_read, file), False) for file in sorted(codes.glob("*.h5"))]
    else:
        sources = [ShardSource(str(codes), partial(_read, codes))]
    if not sources:
        raise DataError(codes, "holds no codes of images to label", _REMEDY)
    return sources


def _read(file: Path) -> bytes:
    return read_user_file(file, DataError, _REMEDY)


def _class_names(shard: _Checked, where: str) -> tuple[str, ...]:
    if not shard.class_names:
        raise DataError(where, "names no classes", "infer again")
    return shard.class_names


def _check_same_book(shard: _Checked, first: _Checked, where: str) -> None:
    if shard.book != first.book or shard.class_names != first.class_names:
        raise DataError(where, "was made with other classes or bins than the first shard", "give shards of one run")


def _row(item: LabelledImage, name: str, digests: Mapping[str, str]) -> dict[str, Any]:
    pixels, ignored = int(np.sum(item.counts)), int(item.counts[-1])
    size = {"bytes": len(item.png), "sha256": digests[name]}
    return {"id": item.id, "file": name, **size, "pixels": pixels, "ignored": ignored}


def _threshold(context: click.Context, parameter: click.Parameter, value: str) -> float | Literal["quantile"]:
    if value == "quantile":
        return "quantile"
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise click.BadParameter(f"{value!r} is not a number from 0 to 1, and not `quantile`")
    return number


@click.command()
@click.argument("codes", type=click.Path(path_type=Path))
@click.option(
    "--threshold",
    callback=_threshold,
    default="0.5",
    show_default=True,
    help="A bin edge; or `quantile`, which chooses one per class from the confidence of its pixels.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="An audit: thresholds refer to its calibrated probabilities, and may be any number.",
)
@click.option("--class-threshold", "class_thresholds", multiple=True, metavar="CLASS=T", help="For one class.")
@click.option(
    "--codec",
    default="default",
    show_default=True,
    help="default, or archive: smaller files, slow to write, same pixels.",
)
@click.option(
    "--backend", default="threads", show_default=True, help="Where the work runs: threads, loky, dask or ray."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the label set.")
@label_id_options
@jobs_option
@json_option
@quiet_option
def cut(
    codes: Path,
    threshold: float | Literal["quantile"],
    calibration: Path | None,
    class_thresholds: tuple[str, ...],
    codec: str,
    backend: str,
    out: Path,
    label_ids: LabelIds,
    class_file: Path | None,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write label PNGs from CODES (an infer artefact or a shard file) at another threshold."""
    if threshold == "quantile" and calibration is not None:
        raise click.UsageError("--threshold quantile goes by the network's own number; leave --calibration out")
    own = dict(_class_threshold(text) for text in class_thresholds)
    result = cut_shards(
        codes,
        out,
        threshold=threshold,
        class_thresholds=own,
        calibration=calibration,
        codec=codec,
        label_ids=label_ids,
        class_file=class_file,
        backend=backend,
        jobs=jobs or 0,
        quiet=quiet,
    )
    if as_json:
        print_json(result)
    else:
        ignored = f"{100 * result['ignored_share']:.1f} % ignored"
        echo(f"{result['count']} labels, {size(result['bytes'])}, {ignored}, in {out}")


def _class_threshold(text: str) -> tuple[str, float]:
    name, separator, value = text.rpartition("=")
    try:
        threshold = float(value)
    except ValueError:
        threshold = -1.0
    if not separator or not 0 <= threshold <= 1:
        raise click.BadParameter(f"{text!r} is not of the form CLASS=THRESHOLD, e.g. car=0.7")
    return name, threshold


COMMANDS = [cut]
