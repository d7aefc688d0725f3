"""The command line of autolabel, with an infer whose codes cost nothing: what is left is files and tables.

python benchmarks/_fake_codes.py infer EXPERIMENT --work DIR
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autolabel.cli.main import main
from autolabel.inference.engine import ChunkCodes
from autolabel.stages import infer

if TYPE_CHECKING:
    from autolabel.data.schema import ImageRow
    from autolabel.labels.codebook import Codebook


def compute_codes(
    ctx: Any, book: Codebook, chunks: Iterator[tuple[int, Sequence[ImageRow]]], **settings: Any
) -> Iterator[ChunkCodes]:
    """One class an image, by the digest of its file, in the surest bin."""
    for index, rows in chunks:
        classes = [int(row.sha256[:2], 16) % book.num_classes for row in rows]
        codes = [
            (row.id, np.full((row.height, row.width), value * book.bins + book.bins - 1, book.dtype))
            for row, value in zip(rows, classes, strict=True)
        ]
        yield ChunkCodes(index, codes, [])


if __name__ == "__main__":
    infer.compute_codes = compute_codes  # type: ignore[assignment]
    main()
