"""Manifests that break a rule each: tables of images and labels, as a stranger or a damaged disk hands them over."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from autolabel.data.manifest import Manifest

SIZE = (6, 4)
Files = dict[str, bytes]
# Values that no row may hold, by column; `{path}` stands for any file.
PATHS = (
    "", "/etc/passwd", "../x.png", "a/../../x.png", "a//b.png", "./a.png", "a/./b", "a\0b", "..", ".", "/", "a/..",
    "images/../images/0.png",
)  # fmt: skip
FILE = {
    "path": PATHS,
    "root": ("", "Source", "../source", "a b", "sour\nce", "source\n", "1", "é", "source/x", "a" * 70_000 + "!"),
    "sha256": ("", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 63 + "\n", "é" * 64, "０" * 64, "0x" + "0" * 62),
    "bytes": (-1, -(2**63)),
}
IMAGE = {
    **FILE,
    "id": ("",),
    "split": ("", "Train", "train ", "all", "train\0", "trаin", "x" * 100_000),  # the last but one with a Cyrillic а
    "width": (0, -1, -(2**31)),
    "height": (0, -1, -(2**31)),
}
LABEL = {
    **FILE,
    "image_id": ("", "absent", "IMAGE 0", "image 0 ", "image 0\0"),
    "role": ("", "Fine", "fine\n", "truth ", "x"),
    "encoding": ("", "rgb", "IDS", "palette"),
    "counts": ((), (24,), (24, 0, 0), (24, 0, 0, 0, 0), (25, 0, 0, 0), (23, 0, 0, 0), (-1, 25, 0, 0), (2**62,) * 4),
}
# Odd values that are allowed: free text is data.
LEGAL_IDS = (
    "../../x", "/etc/passwd", "a\nb", "a\0b", "é", "e\u0301", "x" * 300, "A", "a", "\x1b[31m", "<script>", " ", ".",
    "..", "\u202eabc", "😀", "con", "a/b", "-rf", "%2e%2e", "a" * 100_000,
)  # fmt: skip


def good_manifest(ids: tuple[str, ...] = ("image 0", "image 1", "image 2")) -> Manifest:
    from autolabel.classes import CLASS_SETS, ClassSet
    from autolabel.data.manifest import ImageRow, LabelRow, Manifest

    width, height = SIZE
    names = ("lawn", "path", "shed")
    classes = ClassSet("folder", names, palette=CLASS_SETS["cityscapes"].palette[:3], ids=(0, 1, 2), ignored_ids=(255,))
    images = [
        ImageRow(id, "train", "", "source", f"images/{i}.png", f"{i:064x}", 100 + i, width, height)
        for i, id in enumerate(ids)
    ]
    labels = [
        LabelRow(id, "fine", "ids", "source", f"masks/{i}.png", f"{i + 99:064x}", 50, (20, 4, 0, 0), "test")
        for i, id in enumerate(ids[:2])
    ]
    return Manifest(classes, tuple(images), tuple(labels))


def table_of(name: str, rows: list[dict[str, Any]]) -> bytes:
    """Parquet bytes of rows that nobody has judged."""
    import pyarrow as pa

    from autolabel.data.manifest import IMAGE_SCHEMA, LABEL_SCHEMA

    schema = IMAGE_SCHEMA if name == "images" else LABEL_SCHEMA
    columns = [pa.array([row[field.name] for row in rows], type=field.type) for field in schema]
    return written(pa.Table.from_arrays(columns, schema=schema))


def written(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    sink = BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


class Case:
    """`says`: what the refusal must name; None: it is legitimate, and must come back as `rows`."""

    def __init__(self, title: str, files: Files, says: str | None) -> None:
        self.title, self.files, self.says = title, files, says


def cases(rng: random.Random) -> list[Case]:
    """All single mistakes once, in an order of chance; the row that holds one is chosen by chance."""
    manifest = good_manifest()
    rows = {"images": [*map(asdict, manifest.images)], "labels": [*map(asdict, manifest.labels)]}
    found = []
    for name, rules in (("images", IMAGE), ("labels", LABEL)):
        for column, values in rules.items():
            for value in values:
                at = rng.randrange(len(rows[name]))
                changed = [dict(row) for row in rows[name]]
                changed[at][column] = value
                files = manifest.to_files() | {f"{name}.parquet": table_of(name, changed)}
                found.append(Case(f"{name}.{column} = {str(value)[:40]!r}", files, f"{name}.parquet row {at}"))
    found += [*_legal(), *_repeated(rng, rows), *_shapes(rng, rows), *_bytes(rng), *_classes()]
    rng.shuffle(found)
    return found


def _legal() -> list[Case]:
    return [Case(f"ids {id[:20]!r}", good_manifest((id, f"{id}2", "z")).to_files(), None) for id in LEGAL_IDS] + [
        Case("ids that differ in case", good_manifest(("a", "A", "b")).to_files(), None),
        Case("ids of two Unicode forms", good_manifest(("é", "e\u0301", "b")).to_files(), None),
    ]


def _repeated(rng: random.Random, rows: dict[str, list[dict[str, Any]]]) -> list[Case]:
    manifest = good_manifest()
    twice = {name: table_of(name, [*table, dict(rng.choice(table))]) for name, table in rows.items()}
    same_file = [{**row, "path": "images/same.png"} for row in rows["images"]]
    no_images = {"images.parquet": table_of("images", rows["images"][1:])}
    return [
        Case("an image twice", manifest.to_files() | {"images.parquet": twice["images"]}, "images.parquet row 3"),
        Case("a label twice", manifest.to_files() | {"labels.parquet": twice["labels"]}, "labels.parquet row 2"),
        Case(
            "a file twice",
            manifest.to_files() | {"images.parquet": table_of("images", same_file)},
            "images.parquet row 1",
        ),
        Case("a label without its image", manifest.to_files() | no_images, "labels.parquet row 0"),
    ]


def _shapes(rng: random.Random, rows: dict[str, list[dict[str, Any]]]) -> list[Case]:
    """Columns that are missing, repeated, unknown, of another type, or hold nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files, found = good_manifest().to_files(), []
    for name in rows:
        file = f"{name}.parquet"
        table = pq.ParquetFile(BytesIO(files[file])).read()
        for number, column in enumerate(table.schema.names):
            values = table.column(column)
            nothing = pa.array([None] * len(values), type=values.type)
            at = rng.randrange(len(values))
            one = pa.array([None if i == at else v for i, v in enumerate(values.to_pylist())], type=values.type)
            other = pa.array([[1.5]] * len(values)) if pa.types.is_integer(values.type) else pa.array([1] * len(values))
            words = pa.array(["x"] * len(values)).dictionary_encode()
            nan = pa.array([float("nan")] * len(values))
            tables = {
                f"without {column}": (table.drop_columns([column]), column),
                f"{column} twice": (table.append_column(column, values), file),
                f"{column} renamed": (table.rename_columns({column: column.upper()}), column),
                f"{column} of another type": (table.set_column(number, column, other), column),
                f"{column} of numbers that are none": (table.set_column(number, column, nan), column),
                f"{column} empty": (table.set_column(number, column, nothing), f"{file} row 0"),
                f"one {column} empty": (table.set_column(number, column, one), f"{file} row {at}"),
                f"{column} as binary": (table.set_column(number, column, pa.array([b"x"] * len(values))), column),
                f"{column} as words of a list": (table.set_column(number, column, words), column),
            }  # fmt: skip
            found += [Case(f"{name}: {what}", files | {file: written(t)}, says) for what, (t, says) in tables.items()]
        extra = table.append_column("extra", pa.array([1] * len(table)))
        found.append(Case(f"{name}: a column more", files | {file: written(extra)}, "extra"))
        found.append(Case(f"{name}: no columns", files | {file: written(pa.table({}))}, file))
    nones = [(20, 4, 0, 0), (20, None, 4, 0)]
    counts = [{**row, "counts": value} for row, value in zip(rows["labels"], nones, strict=True)]
    found.append(
        Case("a count of nothing", files | {"labels.parquet": table_of("labels", counts)}, "labels.parquet row 1")
    )
    return found


def _bytes(rng: random.Random) -> list[Case]:
    """Cut short, with a byte changed, or another file altogether."""
    files, found = good_manifest().to_files(), []
    for name, data in files.items():
        cuts = [0, 1, 4, len(data) - 1, *(rng.randrange(len(data)) for _ in range(12))]
        found += [Case(f"{name} cut at {at}", files | {name: data[:at]}, name) for at in cuts]
        others = {"noise": rng.randbytes(500), "zip": b"PK\x03\x04" * 20, "text": b"id,split\n", "NULs": bytes(100)}
        found += [Case(f"{name} of {kind}", files | {name: other}, name) for kind, other in others.items()]
    for a, b in (("images.parquet", "labels.parquet"), ("labels.parquet", "images.parquet")):
        found.append(Case(f"{b} in place of {a}", files | {a: files[b]}, a))
    return found


def _classes() -> list[Case]:
    files = good_manifest().to_files()
    wrong = (
        b"null", b"[]", b"{}", b"3", b'"x"', b"NaN", b"[" * 5000, b'{"name": 1}', b'{"names": []}', b"\xff",
        files["classes.json"].replace(b"lawn", b"path"),
        files["classes.json"].replace(b"255", b"256"),
        files["classes.json"].replace(b"255", b"1e400"),
        files["classes.json"].replace(b'"lawn"', b"null"),
        files["classes.json"].replace(b'"lawn"', b'""'),
    )  # fmt: skip
    return [Case(f"classes.json {data[:30]!r}", files | {"classes.json": data}, "classes.json") for data in wrong]


def refusal(case: Case) -> str | None:
    """The fault in how a case is met, or None."""
    from autolabel.data.manifest import Manifest
    from autolabel.errors import DataError

    try:
        manifest = Manifest.from_files(case.files.__getitem__)
    except DataError as error:
        said = str(error)
        if case.says is None:
            return f"refused: {said[:200]}"
        if case.says not in said or not said.isprintable():
            return f"does not name {case.says!r}: {said[:300]}"
        return None
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    if case.says is not None:
        return "accepted"
    return None if manifest.to_files() == case.files else "came back as something else"


Judge = Callable[[Case], str | None]
__all__ = ["Case", "cases", "good_manifest", "refusal", "replace"]
