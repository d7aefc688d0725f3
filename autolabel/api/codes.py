"""Codes of an infer step: class and probability of every pixel, from which labels of any threshold are made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autolabel.api.arguments import as_index, as_path, as_thresholds
from autolabel.errors import DataError, naming_settings
from autolabel.labels.codebook import Codebook, thresholds_per_class
from autolabel.labels.shards import Shard, read_shard

if TYPE_CHECKING:
    from autolabel.api.label_set import LabelSet

_REMEDY = "give an infer artefact, or a shard of codes (.h5)"


class CodeItem(NamedTuple):
    image: str  # the image's id
    codes: NDArray[np.unsignedinteger]  # (H, W), to be read by `Codes.codebook`


class Codes:
    """The codes of the images to label, read image by image: a sequence of `CodeItem`.

    `path` is an infer artefact (work/NAME/artefacts/infer/KEY), its data folder, or a shard (.h5). Raises DataError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from autolabel.cli.cut import shard_sources

        self.path = as_path(path, "path", _REMEDY)
        if not self.path.exists():
            raise DataError(path, "no such file or folder", _REMEDY)
        self._sources = shard_sources(self.path)
        first = self._shard(0)
        self._codebook, self._class_names = first.book, first.class_names
        self._index: list[tuple[int, str]] = []
        for number in range(len(self._sources)):
            shard = self._shard(number)
            if (shard.book, shard.class_names) != (first.book, first.class_names):
                raise DataError(self._sources[number].where, "was made with other classes or bins than the first shard")
            if self._sources[number].is_chosen or shard.split == "train":
                self._index += [(number, image_id) for image_id in shard.ids]

    @property
    def codebook(self) -> Codebook:
        """How to read the codes."""
        return self._codebook

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in train-id order."""
        return self._class_names

    @property
    def images(self) -> tuple[str, ...]:
        """Ids of the images, in order."""
        return tuple(image_id for _, image_id in self._index)

    def __repr__(self) -> str:
        return f"Codes({str(self.path)!r}, {len(self)} images)"

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> CodeItem:
        number, image_id = self._index[as_index(index, "codes")]
        return CodeItem(image_id, self._shard(number).codes(image_id))

    def labels(
        self, index: int, threshold: float = 0.5, class_thresholds: Mapping[str, float] | None = None
    ) -> NDArray[np.uint8]:
        """(H, W) train ids of one image, 255 where the probability does not exceed the threshold.

        Thresholds are bin edges (`codebook.edges`), or 0 to keep every pixel. Raises ConfigError for others.
        """
        thresholds = thresholds_per_class(self._class_names, *as_thresholds(threshold, class_thresholds))
        labels: NDArray[np.uint8] = self._codebook.lut(thresholds)[self[index].codes]
        return labels

    def cut(
        self,
        out: str | os.PathLike[str],
        *,
        threshold: float = 0.5,
        class_thresholds: Mapping[str, float] | None = None,
    ) -> LabelSet:
        """Write the labels of all images at a threshold to the new folder `out`, as `autolabel cut` does.

        Raises ConfigError where `out` holds something else, or a threshold is no bin edge.
        """
        from autolabel.api.label_set import LabelSet
        from autolabel.cli.cut import cut_shards

        target = as_path(out, "out", "give the path of a new folder")
        threshold, by_class = as_thresholds(threshold, class_thresholds)
        with naming_settings(str):
            cut_shards(
                self.path,
                target,
                threshold=threshold,
                class_thresholds=by_class,
                codec="default",
                label_ids="train",
                class_file=None,
                backend="threads",
                jobs=0,
                quiet=True,
            )
        return LabelSet(target)

    def _shard(self, number: int) -> Shard:
        source = self._sources[number]
        return read_shard(source.read(), where=source.where)
