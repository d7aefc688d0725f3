"""A label set on disk: the labels of a run, or a folder that `cut` or `predict` wrote."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from autolabel.api.arguments import as_index, as_path
from autolabel.api.codes import Codes
from autolabel.artifacts import labels_meta, read_manifest
from autolabel.classes import ClassSet
from autolabel.data.decode import decode_label
from autolabel.errors import ConfigError, DataError
from autolabel.flow.changes import committed
from autolabel.flow.keys import is_input
from autolabel.formats.label_sets import MAX_BYTES, MAX_PIXELS, REMEDY, artefact_at, labels_folder, read_tables
from autolabel.labels.label_set import FOLDER, TABLE
from autolabel.store import Artefact
from autolabel.user_files import read_user_file

if TYPE_CHECKING:
    import numpy as np
    import pandas
    import pyarrow
    from numpy.typing import NDArray


class LabelItem(NamedTuple):
    image: str  # the image's id
    labels: NDArray[np.uint8]  # (H, W) train ids, 255 = ignore


class LabelSet:
    """The labels of a set of images: a sequence of `LabelItem`, which `torch.utils.data.DataLoader` takes as it is.

    `path` is a label artefact (work/NAME/artefacts/label/KEY), whose bytes are checked when they are read, or a folder
    that `cut` or `predict` wrote. The labels are train ids, whatever ids the files have. Raises DataError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_path(path, "path", REMEDY)
        self._artefact = artefact_at(self.path)
        self._folder = self._labels_folder()
        self._classes, self._encoding, self._files, self._table = read_tables(self._read, self._folder)

    @property
    def classes(self) -> ClassSet:
        """Names, colours and ids of the classes, in train-id order."""
        return self._classes

    @property
    def images(self) -> tuple[str, ...]:
        """Ids of the images, in order."""
        return tuple(image for image, _ in self._files)

    def __repr__(self) -> str:
        return f"LabelSet({str(self.path)!r}, {len(self)} images, {self._classes.num_classes} classes)"

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> LabelItem:
        image, name = self._files[as_index(index, "label set")]
        labels = decode_label(
            self._read(name),
            where=self._folder / name,
            classes=self._classes,
            encoding=self._encoding,
            max_pixels=MAX_PIXELS,
        )
        return LabelItem(image, labels)

    def label_path(self, index: int) -> Path:
        """The label PNG of an image."""
        return self._folder / self._files[as_index(index, "label_path")][1]

    def image_path(self, index: int) -> Path:
        """The image's own file. DataError where the set does not say it: only the labels of a run do."""
        image = self._files[as_index(index, "image_path")][0]
        artefact = self._run("the images")
        row = read_manifest(artefact).image(image)
        data = artefact.provenance.get("experiment", {}).get("data", {})
        root = data.get("root") if row.root == "source" else None
        folder = Path(root) if root is not None else self._input("data").data
        return folder / row.path

    def to_arrow(self) -> pyarrow.Table:
        """One row per image: its id, the path of its label, the fraction kept, the mean confidence, and the fraction of
        each class, as in labels.csv."""
        from pyarrow import csv, float64, string

        header = self._table.decode("utf-8-sig").splitlines()[0]
        text = {"image": string(), "label": string()}
        names = csv.read_csv(BytesIO(header.encode() + b"\n")).column_names
        types = {name: text.get(name, float64()) for name in names}
        convert = csv.ConvertOptions(column_types=types, strings_can_be_null=False)
        return csv.read_csv(
            BytesIO(self._table), convert_options=convert, parse_options=csv.ParseOptions(newlines_in_values=True)
        )

    def to_pandas(self) -> pandas.DataFrame:
        """`to_arrow` as a DataFrame. Raises ConfigError where pandas is not installed."""
        try:
            import pandas  # noqa: F401  # Arrow needs it
        except ImportError as error:
            raise ConfigError("to_pandas", "needs pandas, which is not installed", "pip install pandas") from error
        return self.to_arrow().to_pandas()

    def codes(self) -> Codes:
        """The codes that the labels of a run are made from. DataError where they are not known, or are deleted."""
        return Codes(self._input("codes").path)

    def recut(
        self,
        out: str | os.PathLike[str],
        *,
        threshold: float = 0.5,
        class_thresholds: Mapping[str, float] | None = None,
    ) -> LabelSet:
        """Write the same images' labels at another threshold to the new folder `out`, without a network.

        Raises ConfigError where coarse labels took part (`label.coarse`): a run with another label.threshold uses them.
        DataError where the codes are not known, or are deleted.
        """
        meta = labels_meta(self._run("the codes"))
        policy = meta["coarse"]
        if policy != "off" or "rules" in meta:
            remedy = "change label.threshold in the experiment, and run it"
            raise ConfigError("recut", f'these labels use coarse labels, too (label.coarse = "{policy}")', remedy)
        return self.codes().cut(out, threshold=threshold, class_thresholds=class_thresholds)

    def _labels_folder(self) -> Path:
        if self._artefact is not None:
            if f"{FOLDER}/{TABLE}" not in self._artefact.names():
                raise DataError(self.path, "is an artefact of another stage, or of an earlier version", REMEDY)
            return self._artefact.data / FOLDER
        return labels_folder(self.path)

    def _read(self, name: str) -> bytes:
        if self._artefact is not None:
            return self._artefact.read(f"{FOLDER}/{name}")
        return read_user_file(self._folder / name, DataError, REMEDY, at_most=MAX_BYTES)

    def _run(self, what: str) -> Artefact:
        if self._artefact is None:
            raise DataError(self.path, f"does not say where {what} are", "give the label artefact of a run")
        return self._artefact

    def _input(self, name: str) -> Artefact:
        """The artefact that the label step read, among those of the same work folder."""
        artefact = self._run(f"the {name}")
        found = (other for other in committed(artefact.path.parent.parent) if is_input(other, artefact, name))
        if (made := next(found, None)) is None:
            raise DataError(self.path, f"its {name} are no longer in the work folder", "run the experiment again")
        return made
