"""The label set that `predict` writes: its table and its statement of ids grow over several commands."""

from __future__ import annotations

from pathlib import Path

from autolabel.errors import ConfigError, DataError
from autolabel.labels.label_set import (
    CLASSES,
    FOLDER,
    LEGEND,
    TABLE,
    LabelSummary,
    Statement,
    describe,
    images_of_labels,
    merge_tables,
    read_statement,
)
from autolabel.store import TEMPORARY, OutputFolder
from autolabel.user_files import read_user_file

_NEW = "give a new folder with --out"


class LabelFolder:
    """An output folder. It may hold labels of an earlier command, if they have the same classes and ids.

    Raises ConfigError for a folder of other labels, before anything is written.
    """

    def __init__(self, out: Path, statement: Statement) -> None:
        self.rows: list[LabelSummary] = []
        self.statement, self._out = statement, out
        self._earlier = _earlier_table(out / FOLDER, statement)

    def begin(self, output: OutputFolder) -> None:
        """Before the first label: no label ever lies there without the statement of its ids.

        While the table is incomplete it is not there; then the statement speaks of every label in the folder.
        """
        output.write([(f"{FOLDER}/{CLASSES}", self.statement.to_json())], updated=True)
        if self._earlier is not None:
            output.remove(f"{FOLDER}/{TABLE}")

    def finish(self, output: OutputFolder) -> None:
        """Write table and legend."""
        files = describe(self.statement, self.rows)
        table = f"{FOLDER}/{TABLE}"
        if self._earlier is not None:
            files[table] = merge_tables(self._earlier, files[table], self._out / table)
        output.write([(table, files.pop(table))], updated=True)
        output.write(files.items())


def _earlier_table(folder: Path, statement: Statement) -> bytes | None:
    if not (folder / CLASSES).exists():
        _check_free(folder.parent)
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise ConfigError(folder, "is not a folder", _NEW)
    if not (folder / CLASSES).is_file():
        if any(not entry.name.startswith(TEMPORARY) for entry in folder.iterdir()):
            raise ConfigError(folder, f"holds files, but no {CLASSES} that states the ids of its labels", _NEW)
        return None
    if read_statement(read_user_file(folder / CLASSES, DataError, _NEW), folder / CLASSES) != statement:
        raise ConfigError(folder, "holds labels of other classes or in other ids", _NEW)
    if not (folder / TABLE).is_file():
        return None
    table = read_user_file(folder / TABLE, DataError, _NEW)
    images_of_labels(table, folder / TABLE)
    return table


def _check_free(out: Path) -> None:
    """The legend of a new label set must not replace another file."""
    for name in (CLASSES, LEGEND):
        if (out / name).exists():
            raise ConfigError(out / name, "would be replaced by the legend of the labels", _NEW)
